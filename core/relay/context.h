/* SPDX-License-Identifier: Apache-2.0 */
/*
 * context.h - what the threads of a relay share, and what all of them ask of it.
 *
 * Without a word at a member: written before the threads start, and read-only then. Members with a
 * lock of their own (wakeup, store_suspension, unrouted, lineage, a publisher's breaker) say in
 * their header what it protects. The rest is atomic, or names its lock here.
 */
#pragma once

#include "base/wakeup.h"
#include "plugin/current_call.h"
#include "plugin/store.h"
#include "policy/activity.h"
#include "policy/breaker.h"
#include "policy/unrouted_gauge.h"
#include "relay/lineage.h"
#include "relay/relay.h"
#include "route/router.h"

#include <pthread.h>
#include <stdatomic.h>

/* What a call to the store may take, ms. */
#define STORE_CALL_MS 10000
/* After what time an unrouted message is tried again, ms. */
#define UNROUTED_HOLD_MS 30000

struct publisher_state {
    const struct publisher_config *config;
    struct publisher_common *common;
    size_t before;  /* its index in the relay before, whose instances it takes over; ROUTE_NONE */
    bool passed_on; /* to the next relay; before that drains this one */
};

struct relay {
    const struct config *config;
    struct relay_mode mode;
    struct log *log;

    struct lineage *lineage;
    struct relay_row *row;
    _Atomic bool row_passed; /* the next relay writes it now */

    int stop_fd;  /* readable: begin nothing new */
    int drain_fd; /* readable: claim nothing more */
    int ended_fd; /* readable: all threads have ended */
    int quit_fd;  /* readable: janitor and watcher are to end */
    _Atomic bool stopping;
    _Atomic bool draining;
    _Atomic int64_t deadline_us; /* monotonic: when stopping must be over */

    int64_t hold_ms; /* the time by which a batch has to be settled */
    struct wakeup wakeup;
    struct suspension store_suspension;
    _Atomic int64_t claimed_us; /* a claim passed, monotonic */
    struct suspension settle_suspension;
    _Atomic size_t settlers; /* workers that try again to settle what they sent */
    struct publisher_state *publishers;
    struct unrouted_gauge unrouted;
    _Atomic bool heartbeat_due; /* connections may have been lost: write the row soon */
    _Atomic uint64_t stale;
    _Atomic uint64_t failed;           /* dead letters that no publisher saw */
    struct activity_done done;         /* an outcome was settled */
    _Atomic int64_t deferred_until_us; /* once: messages wait for a suspended publisher */
    _Atomic size_t once_workers;       /* once: workers that found something to do until now */
    int64_t began_us;                  /* monotonic */

    struct worker *workers;
    pthread_t *threads;     /* the workers', the janitor's, the watchdog's, the watcher's */
    size_t n_threads;       /* started */
    _Atomic size_t working; /* workers that have not yet ended */
    _Atomic size_t running; /* threads of all kinds, not yet ended */

    struct store janitor_store; /* the janitor's; after it has ended, relay_finish's */
    struct store watcher_store; /* the watcher's */
    struct current_call janitor_call;
    struct current_call watcher_call;

    _Atomic(const char *)
        opening; /* what is being opened or closed now, for people; NULL: nothing */

    pthread_mutex_t next_lock;  /* of `next` */
    struct relay *next;         /* takes over what it keeps; NULL: none */
    pthread_mutex_t begin_lock; /* of the workers' `may_begin`, and of what they take over */
    pthread_cond_t begin;
    size_t n_before; /* workers of the relay before, for which those of this one wait */

    pthread_mutex_t outage_lock;
    char outage[384]; /* under outage_lock, until the threads have ended */

    pthread_mutex_t waking_lock; /* of the two below */
    const char *waking_by;       /* "news" or "polling" */
    char waking_reason[256];     /* why polling, though the store can wait for news */
};

/* What is left of the time for stopping, ms; at most `most`. */
int64_t context_left_ms(const struct relay *relay, int64_t most);
/* What made a once-relay give up. */
void context_remember_outage(struct relay *relay, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* What is opened or closed next, for people: a publisher's name, or what it is; NULL: nothing. */
void context_opens(struct relay *relay, const char *what);
/* No worker needs janitor and watcher any more. */
void context_quit(struct relay *relay);
/* The last thing that a worker does, and that any other thread does. */
void context_worker_ended(struct relay *relay);
void context_thread_ended(struct relay *relay);

/* Renews the workers' leases, writes this relay's row, and deletes what is old. */
void *janitor_main(void *relay);
/* Waits for the store's news, and wakes one idle worker. */
void *watcher_main(void *relay);
/* Tells of workers that get nothing done, whatever their calls do. */
void *watchdog_main(void *relay);
