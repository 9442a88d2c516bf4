/* SPDX-License-Identifier: Apache-2.0 */
/*
 * current_call.h - the plugin's operation that a thread is in: for the relay's watchdog, which
 * tells of calls that are overdue, for the service manager's, and for the line that names the
 * plugin after a crash.
 *
 * A thread whose calls are to be seen adopts one. `lock` protects all fields but the last two,
 * which are the thread's own. A thread without one calls plugins unseen.
 */
#pragma once

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct instance;

/* A call is overdue this long after its time-out, us. */
#define CURRENT_CALL_SLACK_US INT64_C(1500000)

struct current_call {
    pthread_mutex_t lock;
    const struct instance *instance; /* NULL: no call */
    const char *operation;
    int64_t due_us;   /* monotonic */
    int64_t moved_us; /* the thread began, came back from a call or said so, monotonic */
    bool told;        /* it is overdue, and that was logged */
    bool keeps_mask;
    sigset_t mask; /* of its thread, as the call has to leave it */
};

void current_call_init(struct current_call *call);
void current_call_destroy(struct current_call *call);

/* From now on it is the calling thread's. keeps_mask: the thread itself never changes its mask of
 * signals, so that it is not read before each call. */
void current_call_adopt(struct current_call *call, bool keeps_mask);
/* The calling thread's, or NULL. Safe in a signal handler, as reading its fields is there. */
const struct current_call *current_call_here(void);

void current_call_begin(const struct instance *instance, const char *operation, int64_t timeout_ms);

/* What a call did beside its result. */
struct current_call_end {
    bool changed_mask; /* of signals; it was set back */
    bool told;         /* it was overdue */
    int64_t late_ms;
};
struct current_call_end current_call_end(const struct instance *instance);

/* For a thread that makes no calls for long: it gets on. The calling thread's. */
void current_call_moved(void);
/* For how long its thread has not got on, monotonic us; within a call: for how long that is
 * overdue. `what` says which call it is, and is empty outside of one. From another thread. */
int64_t current_call_still_us(struct current_call *call, char *what, size_t cap);

/* Logs a call that is overdue, from another thread; once, and of each operation by reminder.h. */
void current_call_watch(struct current_call *call);
