/* SPDX-License-Identifier: Apache-2.0 */
/* connect.c - TCP to every address that a host has, which the library does not try; or TLS. */
#include "connection/connect.h"

#include "connection/attempt.h"
#include "connection/login.h"
#include "connection/monotonic.h"
#include "connection/tls.h"

#include <outbox/helpers.h>

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A dead peer of a connection without heartbeats is found after two minutes or so. */
#define KEEPALIVE_IDLE_S 60
#define KEEPALIVE_INTERVAL_S 15
#define KEEPALIVE_PROBES 4

/* 0, or errno. */
static int wait_connected(int fd, int64_t until_us)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    int e = 0;
    socklen_t n = sizeof e;
    int r;
    do
        r = poll(&poll_fd, 1, ms_until(until_us));
    while (r < 0 && errno == EINTR);
    if (r == 0)
        return ETIMEDOUT;
    return r < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) < 0 ? errno : e;
}

/* A connected socket, as the library would make it; or -1 with *ret_errno. */
static int connect_address(const struct addrinfo *to, int64_t until_us, int *ret_errno)
{
    int on = 1;
    int fd = socket(to->ai_family, to->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, to->ai_protocol);
    *ret_errno = fd < 0 ? errno : 0;
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, to->ai_addr, to->ai_addrlen) < 0)
        *ret_errno = errno == EINPROGRESS || errno == EINTR ? wait_connected(fd, until_us) : errno;
    if (*ret_errno == 0)
        return fd;
    close(fd);
    return -1;
}

static int tcp_connect(struct attempt *a)
{
    const struct outbox_url_host *host = &a->endpoint->url.parts.hosts[a->host];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses = NULL;
    int64_t left = 0;
    int e = 0, fd = -1;
    char port[8];
    snprintf(port, sizeof port, "%u", host->port);
    amqp_socket_t *s = amqp_tcp_socket_new(a->state);
    if (!s)
        return outbox_fail(&a->err, OUTBOX_E_RETRY, "out of memory");
    int r = getaddrinfo(host->name, port, &hints, &addresses);
    if (r != 0)
        return outbox_fail(&a->err, OUTBOX_E_RETRY, "cannot resolve the name: %s",
                           r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r));
    for (const struct addrinfo *p = addresses; p; p = p->ai_next)
        left++;
    /* An address that does not answer leaves the others their share of the time. */
    for (const struct addrinfo *p = addresses; p && fd < 0; p = p->ai_next, left--)
        fd = connect_address(p, now_us() + (a->until_us - now_us()) / left, &e);
    freeaddrinfo(addresses);
    if (fd < 0)
        return outbox_fail(&a->err, OUTBOX_E_RETRY, "%s",
                           e == ETIMEDOUT ? "no answer within connect_timeout" : strerror(e));
    amqp_tcp_socket_set_sockfd(s, fd);
    return OUTBOX_OK;
}

/*
 * No TCP_USER_TIMEOUT: heartbeats and confirm_timeout find a dead peer, and it would end
 * connections that an alarm of the broker blocks.
 */
static void tune_socket(int fd)
{
    int on = 1, idle = KEEPALIVE_IDLE_S, interval = KEEPALIVE_INTERVAL_S, n = KEEPALIVE_PROBES;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &n, sizeof n);
}

void connect_run(void *attempt)
{
    struct attempt *a = attempt;
    a->state = amqp_new_connection();
    int r = !a->state              ? outbox_fail(&a->err, OUTBOX_E_RETRY, "out of memory")
            : a->endpoint->url.tls ? tls_connect(a)
                                   : tcp_connect(a);
    if (r < 0)
        return;
    tune_socket(amqp_get_sockfd(a->state));
    login(a);
}
