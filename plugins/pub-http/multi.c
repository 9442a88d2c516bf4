/* SPDX-License-Identifier: Apache-2.0 */
/* multi.c - libcurl's sockets and timer, in an epoll: only what has something to do is touched. */
#include "http.h"

#include <errno.h>
#include <sys/epoll.h>

#define EVENTS 64

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *known)
{
    struct client *c = data;
    struct epoll_event event = {.data.fd = fd};
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(c->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    event.events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) |
                   (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
    if (!known)
        curl_multi_assign(c->multi, fd, c);
    if (epoll_ctl(c->epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) < 0)
        epoll_ctl(c->epoll_fd, errno == EEXIST ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
    return 0;
}

static int on_timer(CURLM *multi, long ms, void *data)
{
    struct client *c = data;
    (void)multi;
    c->timer_ms = ms;
    c->timer_is_new = 1;
    return 0;
}

int multi_is_due(struct client *c)
{
    int64_t now_us = outbox_client_now_us(&c->base);
    if (c->timer_is_new)
        c->timer_us = c->timer_ms < 0 ? INT64_MAX : now_us + (int64_t)c->timer_ms * 1000;
    c->timer_is_new = 0;
    return c->timer_us <= now_us;
}

int multi_open(struct client *c, struct outbox_err *err)
{
    const struct settings *set = &c->settings;
    long connections = (long)set->connections;
    int ok;
    c->timer_us = INT64_MAX;
    c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (c->epoll_fd < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "epoll: %s", strerror(errno));
    c->multi = curl_multi_init();
    if (!c->multi)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    ok = curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
         curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c) == CURLM_OK &&
         curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
         curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c) == CURLM_OK &&
         curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX) == CURLM_OK &&
         /* one more for a check */
         curl_multi_setopt(c->multi, CURLMOPT_MAX_HOST_CONNECTIONS, connections + 1) == CURLM_OK &&
         curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, connections + 4) == CURLM_OK &&
         curl_multi_setopt(c->multi, CURLMOPT_MAX_CONCURRENT_STREAMS, (long)set->in_flight) ==
             CURLM_OK;
    return ok ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "libcurl takes no settings");
}

void multi_close(struct client *c)
{
    if (c->multi)
        curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, NULL);
    while (c->running) {
        struct request *q = c->running;
        request_end(c, q);
        request_free(q);
    }
    while (c->idle) {
        struct request *q = c->idle;
        c->idle = q->next;
        request_free(q);
    }
    if (c->multi)
        curl_multi_cleanup(c->multi);
    c->multi = NULL;
    if (c->epoll_fd >= 0)
        close(c->epoll_fd);
    c->epoll_fd = -1;
}

void multi_work(struct client *c, int is_due)
{
    struct epoll_event events[EVENTS];
    int running, n = epoll_wait(c->epoll_fd, events, EVENTS, 0);
    for (int i = 0; i < n; i++) {
        int what = (events[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) |
                   (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (events[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
        curl_multi_socket_action(c->multi, events[i].data.fd, what, &running);
    }
    if (is_due) {
        c->timer_us = INT64_MAX;
        curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
}
