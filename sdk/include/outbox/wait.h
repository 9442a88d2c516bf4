/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/wait.h - waiting for a descriptor within the time of a struct outbox_call: its deadline,
 * the host's wish to end the call, and the grace for what is under way. One thread at a time.
 */
#ifndef OUTBOX_WAIT_H
#define OUTBOX_WAIT_H

#include <outbox/helpers.h>

#include <errno.h>
#include <poll.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One call on its way. Fill it with outbox_deadline_begin. */
struct outbox_deadline {
    const struct outbox_host *host;
    int64_t until_us;  /* monotonic: when the call has to be over */
    int64_t grace_us;  /* what is under way may take so long once the host cancels */
    int32_t cancel_fd; /* -1: the host does not cancel, or has done so */
    int32_t cancelled; /* 1: begin nothing new */
};

/** Call it first: the time counts from here. */
static inline void outbox_deadline_begin(struct outbox_deadline *d, const struct outbox_host *host,
                                         const struct outbox_call *call)
{
    d->host = host;
    d->until_us = host->monotonic_us(host) + OUTBOX_CAST(int64_t, call->timeout_ms) * 1000;
    d->grace_us = OUTBOX_CAST(int64_t, call->grace_ms) * 1000;
    d->cancel_fd = call->cancel_fd;
    d->cancelled = 0;
}

/** Moves the end to at most ms from now: for a step with a time-out of its own. */
static inline void outbox_deadline_shorten(struct outbox_deadline *d, int64_t ms)
{
    int64_t until_us = d->host->monotonic_us(d->host) + ms * 1000;
    if (until_us < d->until_us)
        d->until_us = until_us;
}

/** What is left, ms, rounded up; 0: nothing. As poll takes it, at most INT32_MAX. */
static inline int outbox_deadline_left_ms(const struct outbox_deadline *d)
{
    int64_t left = (d->until_us - d->host->monotonic_us(d->host) + 999) / 1000;
    return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : OUTBOX_CAST(int, left);
}

/** Takes note that the host cancels: what is left is at most the grace. */
static inline void outbox_deadline_cancel(struct outbox_deadline *d)
{
    int64_t until_us = d->host->monotonic_us(d->host) + d->grace_us;
    d->cancelled = 1;
    d->cancel_fd = -1;
    if (until_us < d->until_us)
        d->until_us = until_us;
}

/** Asks, without waiting, whether the host cancels: 1 if so, and nothing new is to be begun. */
static inline int outbox_deadline_cancelled(struct outbox_deadline *d)
{
    struct pollfd pollfd;
    pollfd.fd = d->cancel_fd;
    pollfd.events = POLLIN;
    pollfd.revents = 0;
    if (d->cancel_fd >= 0 && poll(&pollfd, 1, 0) > 0)
        outbox_deadline_cancel(d);
    return d->cancelled;
}

/**
 * Waits until fd has one of `events` (POLLIN, POLLOUT), or an error: OUTBOX_OK; fd -1: until the
 * time is over. OUTBOX_E_TIMEOUT: the time is over. OUTBOX_E_CANCELLED: the host cancels, and
 * nothing is under way (`begun` 0); with `begun` 1 it goes on for the grace and sets d->cancelled.
 */
static inline int outbox_wait(struct outbox_deadline *d, int fd, short events, int begun)
{
    for (;;) {
        struct pollfd fds[2];
        int n;
        if (d->cancelled && !begun)
            return OUTBOX_E_CANCELLED;
        fds[0].fd = fd;
        fds[0].events = events;
        fds[0].revents = 0;
        fds[1].fd = d->cancel_fd;
        fds[1].events = POLLIN;
        fds[1].revents = 0;
        n = poll(fds, 2, outbox_deadline_left_ms(d));
        if (n > 0 && fds[0].revents)
            return OUTBOX_OK;
        if (n > 0)
            outbox_deadline_cancel(d);
        else if (n == 0 || errno != EINTR)
            return OUTBOX_E_TIMEOUT;
    }
}

#ifdef __cplusplus
}
#endif
#endif
