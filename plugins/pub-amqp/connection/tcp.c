/* SPDX-License-Identifier: Apache-2.0 */
/* tcp.c - connects to a host by every address that it has, which the library does not. */
#include "connection/connect.h"
#include "connection/monotonic.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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
static int connect_to(const struct addrinfo *to, int64_t until_us, int *ret_errno)
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

static int connect_any(struct attempt *a, const struct addrinfo *addresses)
{
    int e = 0, fd = -1;
    int64_t left = 0;
    for (const struct addrinfo *p = addresses; p; p = p->ai_next)
        left++;
    /* One that does not answer leaves the others their share of the time. */
    for (const struct addrinfo *p = addresses; p && fd < 0; p = p->ai_next, left--)
        fd = connect_to(p, now_us() + (a->until_us - now_us()) / left, &e);
    if (fd < 0)
        attempt_fail(a, ATTEMPT_FAILED, "%s",
                     e == ETIMEDOUT ? "no answer within connect_timeout" : strerror(e));
    return fd;
}

int tcp_open(struct attempt *a)
{
    const struct url_host *host = &a->target->url.hosts[a->host];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", host->port);
    amqp_socket_t *s = amqp_tcp_socket_new(a->c);
    if (!s)
        return attempt_fail(a, ATTEMPT_FAILED, "out of memory");
    int r = getaddrinfo(host->name, port, &hints, &addresses);
    if (r != 0)
        return attempt_fail(a, ATTEMPT_FAILED, "cannot resolve the name: %s",
                            r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r));
    int fd = connect_any(a, addresses);
    freeaddrinfo(addresses);
    if (fd < 0)
        return -1;
    amqp_tcp_socket_set_sockfd(s, fd);
    return 0;
}
