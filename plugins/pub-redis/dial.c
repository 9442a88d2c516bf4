/* SPDX-License-Identifier: Apache-2.0 */
/* dial.c - a connected socket. */
#include "redis.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Connects b->link to one address. */
static int connect_one(struct broker *b, int family, const struct sockaddr *address, socklen_t n,
                       int64_t until_us, struct outbox_err *err)
{
    int one = 1, e = 0, r;
    socklen_t e_n = sizeof e;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "socket: %s", strerror(errno));
    r = link_open(&b->link, fd, err);
    if (r < 0)
        return r;
    if (family != AF_UNIX) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    }
    if (connect(fd, address, n) == 0)
        return OUTBOX_OK;
    if (errno != EINPROGRESS)
        return outbox_fail(err, OUTBOX_E_RETRY, "%s", strerror(errno));
    for (;;) {
        struct pollfd pollfd = {.fd = fd, .events = POLLOUT};
        if (poll(&pollfd, 1, 0) > 0)
            break;
        r = ask_wait(b, POLLOUT, until_us, err);
        if (r < 0)
            return r;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &e_n) < 0)
        e = errno;
    return e == 0 ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "%s", strerror(e));
}

/* One address after the other; those that are left share the time. */
static int connect_any(struct broker *b, const struct addrinfo *list, int64_t until_us,
                       struct outbox_err *err)
{
    int r = outbox_fail(err, OUTBOX_E_RETRY, "its name has no address");
    int left = 0;
    for (const struct addrinfo *a = list; a; a = a->ai_next)
        left++;
    for (const struct addrinfo *a = list; a && r == OUTBOX_E_RETRY; a = a->ai_next, left--) {
        int64_t now_us = outbox_client_now_us(&b->client);
        r = connect_one(b, a->ai_family, a->ai_addr, a->ai_addrlen,
                        now_us + (until_us - now_us) / left, err);
        if (r < 0)
            link_close(&b->link);
    }
    return r;
}

int dial_host(struct broker *b, const char *name, uint16_t port, int64_t until_us,
              struct outbox_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    char service[8];
    int rc, r;
    snprintf(service, sizeof service, "%u", (unsigned)port);
    pthread_mutex_unlock(&b->client.lock); /* it may take long */
    rc = getaddrinfo(name, service, &hints, &list);
    pthread_mutex_lock(&b->client.lock);
    if (b->client.ending)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "the relay ends");
    else if (rc != 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "its name: %s", gai_strerror(rc));
    else
        r = connect_any(b, list, until_us, err);
    if (list)
        freeaddrinfo(list);
    return r;
}

int dial_socket(struct broker *b, const char *path, int64_t until_us, struct outbox_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct sockaddr *p = (struct sockaddr *)(void *)&address;
    int r;
    if (strlen(path) >= sizeof address.sun_path)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the path of the socket is too long");
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    r = connect_one(b, AF_UNIX, p, sizeof address, until_us, err);
    if (r < 0)
        link_close(&b->link);
    return r;
}
