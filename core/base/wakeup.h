/* SPDX-License-Identifier: Apache-2.0 */
/* wakeup.h - where idle workers wait: for news, for the next poll, for a time of their own. */
#ifndef CORE_BASE_WAKEUP_H
#define CORE_BASE_WAKEUP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct wakeup {
    pthread_mutex_t lock;
    pthread_cond_t rung;
    pthread_cond_t idle; /* somebody began to wait */
    unsigned rings;      /* not taken yet; at most one for each waiter is of use */
    unsigned waiting;
    int64_t poll_us;
    int64_t due_us; /* monotonic: when one of the waiters looks anyway */
    bool shut;
};

void wakeup_init(struct wakeup *bell, int64_t poll_ms);
void wakeup_destroy(struct wakeup *bell);

/* Wakes one waiter, or lets the next one pass at once. */
void wakeup_signal(struct wakeup *bell);

/* Nobody waits any more. */
void wakeup_close(struct wakeup *bell);

/*
 * Waits for a ring; until due_us, which whoever wakes first takes for all waiters; or until
 * own_us, which is this caller's alone. Monotonic microseconds, INT64_MAX: never.
 */
void wakeup_wait(struct wakeup *bell, int64_t due_us, int64_t own_us);

/* Until somebody waits, or until_us (monotonic; INT64_MAX: for ever), or it is shut. False: nobody
 * does, the time is over. */
bool wakeup_await_idle(struct wakeup *bell, int64_t until_us);

#endif
