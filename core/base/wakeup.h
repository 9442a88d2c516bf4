/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wakeup.h - where idle workers wait: for a signal that there may be messages, for the next poll,
 * for a time of their own.
 *
 * All threads; `lock` protects every field. Times are monotonic microseconds, INT64_MAX: never.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pollfd;

struct wakeup {
    pthread_mutex_t lock;
    pthread_cond_t signalled;
    pthread_cond_t idle; /* a worker began to wait */
    unsigned signals;    /* that no waiter has taken yet */
    unsigned waiting;
    unsigned polling; /* of them, in wakeup_poll */
    int fd;           /* an eventfd that they poll: look again */
    int64_t poll_us;  /* the longest time between two polls of the store */
    int64_t due_us;   /* when one of the waiters polls without a signal */
    bool closed;
};

void wakeup_init(struct wakeup *wakeup, int64_t poll_ms);
void wakeup_destroy(struct wakeup *wakeup);

/* Wakes one waiter, or lets the next one pass at once. */
void wakeup_signal(struct wakeup *wakeup);

/* Wakes all waiters; from now on no call waits. */
void wakeup_close(struct wakeup *wakeup);

/*
 * Waits for a signal; until due_us or the next poll, which the first one that wakes takes for all
 * waiters; or until own_us, which is this caller's alone: then it is false.
 */
bool wakeup_wait(struct wakeup *wakeup, int64_t due_us, int64_t own_us);

/* The same for a waiter that descriptors concern, too: fds[1] to fds[n-1]; fds[0] is room for its
 * own use. It is false, too, when one of them is ready. */
bool wakeup_poll(struct wakeup *wakeup, int64_t due_us, int64_t own_us, struct pollfd *fds,
                 size_t n);

/* Waits for a worker to become idle. True: one is, or the wakeup is closed; false: until_us is
 * over. */
bool wakeup_await_idle(struct wakeup *wakeup, int64_t until_us);
