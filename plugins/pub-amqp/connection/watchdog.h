/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watchdog.h - an end for calls of librabbitmq that have none: writing to a peer that does not
 * read. A thread shuts the socket down when a call's time is over, so that the write fails.
 */
#ifndef PUB_AMQP_CONNECTION_WATCHDOG_H
#define PUB_AMQP_CONNECTION_WATCHDOG_H

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
    bool barked;    /* it has shut a socket down since it was armed */
    int wake_fd;    /* eventfd, -1 until started */
    int fd;         /* the socket, -1: none */
    int cancel_fd;
    int64_t grace_us;
    int64_t deadline_us; /* CLOCK_MONOTONIC */
    int64_t asleep_us;   /* until when the thread sleeps at most */
    int asleep_fd;       /* the cancel_fd that it watches meanwhile */
};

void watchdog_init(struct watchdog *w);
/* Ends the thread. */
void watchdog_destroy(struct watchdog *w);

/*
 * From now on the socket is shut down at deadline_us, or grace_us after cancel_fd (-1: none) became
 * readable. Starts the thread when need be; 0, or -1 with errno.
 */
int watchdog_arm(struct watchdog *w, int64_t deadline_us, int cancel_fd, int64_t grace_us);
/* Which socket; -1 before it is closed. */
void watchdog_watch(struct watchdog *w, int fd);
void watchdog_disarm(struct watchdog *w);
/* Has it shut the socket down? */
bool watchdog_barked(struct watchdog *w);

#endif
