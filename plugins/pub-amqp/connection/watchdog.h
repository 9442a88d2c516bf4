/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watchdog.h - a deadline for writes, which librabbitmq does not have: a peer that does not read
 * would block them for ever. A thread shuts the socket down at the deadline, so that they fail.
 *
 * `lock` protects all members, and is never held while the thread sleeps. The descriptors of the
 * socket and of cancel_fd belong to the caller, who takes the socket away before closing it.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct watchdog {
    pthread_mutex_t lock;
    pthread_t thread;
    bool started;
    bool quit;
    bool armed;
    bool cancelled; /* cancel_fd was readable; the deadline has moved */
    bool fired;     /* it has shut a socket down since it was armed */
    int wake_fd;    /* eventfd, -1 until started */
    int fd;         /* the socket, -1: none */
    int cancel_fd;
    int64_t grace_us;
    int64_t deadline_us;    /* CLOCK_MONOTONIC */
    int64_t sleep_until_us; /* when the thread wakes by itself */
    int sleep_cancel_fd;    /* the cancel_fd that it polls meanwhile */
};

void watchdog_init(struct watchdog *w);
/* Ends the thread. */
void watchdog_destroy(struct watchdog *w);

/*
 * From now on the socket is shut down at deadline_us, or grace_us after cancel_fd (-1: none) became
 * readable. Starts the thread when need be. OUTBOX_E_RETRY with errno: there is no thread.
 */
int watchdog_arm(struct watchdog *w, int64_t deadline_us, int cancel_fd, int64_t grace_us);
/* The socket to shut down; -1 before it is closed. */
void watchdog_watch(struct watchdog *w, int fd);
void watchdog_disarm(struct watchdog *w);
/* Has it shut a socket down since it was armed? */
bool watchdog_has_fired(struct watchdog *w);
