/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/connect.h"

#include "connection/monotonic.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

/* A dead peer of a connection without heartbeats is found after two minutes or so. */
#define KEEPALIVE_IDLE_S 60
#define KEEPALIVE_INTERVAL_S 15
#define KEEPALIVE_PROBES 4

struct attempt *attempt_new(struct target *target, size_t host, int64_t until_us)
{
    struct attempt *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->target = target_ref(target);
    a->host = host;
    a->until_us = until_us;
    return a;
}

void attempt_free(void *attempt)
{
    struct attempt *a = attempt;
    if (!a)
        return;
    amqp_destroy_connection(a->c);
    target_unref(a->target);
    free(a);
}

int attempt_fail(struct attempt *a, enum attempt_result result, const char *fmt, ...)
{
    va_list ap;
    if (a->result != ATTEMPT_OK)
        return -1;
    a->result = result;
    va_start(ap, fmt);
    vsnprintf(a->why, sizeof a->why, fmt, ap);
    va_end(ap);
    return -1;
}

struct timeval attempt_left(const struct attempt *a)
{
    int64_t left = a->until_us - now_us();
    if (left < 0)
        left = 0;
    return (struct timeval){.tv_sec = left / 1000000, .tv_usec = left % 1000000};
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

void attempt_run(void *attempt)
{
    struct attempt *a = attempt;
    a->c = amqp_new_connection();
    if (!a->c) {
        attempt_fail(a, ATTEMPT_FAILED, "out of memory");
        return;
    }
    int r = a->target->url.tls ? tls_open(a) : tcp_open(a);
    if (r == 0) {
        tune_socket(amqp_get_sockfd(a->c));
        r = login(a);
    }
    if (r < 0) {
        amqp_destroy_connection(a->c);
        a->c = NULL;
    }
}
