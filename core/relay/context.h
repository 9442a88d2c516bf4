/* SPDX-License-Identifier: Apache-2.0 */
/* context.h - the relay from inside: what its threads share. Only relay files include it. */
#ifndef CORE_RELAY_CONTEXT_H
#define CORE_RELAY_CONTEXT_H

#include "base/wakeup.h"
#include "common/arena.h"
#include "plugin/store.h"
#include "policy/breaker.h"
#include "policy/poison.h"
#include "policy/unrouted_gauge.h"
#include "relay/relay.h"
#include "route/router.h"

#include <pthread.h>
#include <stdatomic.h>

/* Deadlines of calls to the store, ms. */
#define STORE_CALL_MS 10000
/* A batch is held a little longer than the longest batch_timeout, so that the first publisher has
 * all of it. */
#define HOLD_MORE_MS 1000
/* How long an unrouted message is held before it is tried again, ms. */
#define UNROUTED_HOLD_MS 30000

/* What all workers know of a publisher. */
struct publisher_state {
    struct breaker breaker;
    _Atomic uint64_t accepted;
    _Atomic uint64_t retried;
    _Atomic uint64_t failed;
};

/* The claim that a worker holds, for the keeper. */
struct claim_hold {
    pthread_mutex_t lock;
    char lease[128];
    size_t lease_n;   /* 0: nothing to renew */
    int64_t until_us; /* monotonic; as far as known */
};

/* A batch on its way through a worker. Arrays hold `size` each. */
struct batch {
    struct outbox_batch *batch;
    size_t size;
    size_t *publisher; /* of each message, or ROUTE_NONE: settled by the routing itself */
    uint32_t *index;   /* of one publisher's messages, in order */
    const struct outbox_message **msgs;
    struct outbox_outcome *outcomes;
    struct outbox_outcome **outcome_ptrs;
    struct outbox_settle *items;
    const struct outbox_settle **item_ptrs;
    size_t n_items; /* waiting to be settled */
    size_t n_kept;  /* of these, with a reason that is the desk's own */
    uint8_t *stale;
    struct arena reasons; /* of items */
};

struct worker {
    struct relay *relay;
    pthread_t thread;
    struct store store;
    struct instance *publishers;
    struct router *router;
    struct claim_hold hold;
    struct batch desk;
    int64_t deadline_us;    /* monotonic: when the batch is to be settled */
    uint32_t limit;         /* of the next claim; shrinks when batches do not fit their time */
    size_t first_publisher; /* whose turn it is to go first */
    bool cut_short;         /* this batch did not fit its time */
    int64_t put_off_ms;     /* the longest for which anything is, that is not settled yet */
    bool lost;              /* the store dropped this batch */
    bool gave_up;           /* once: settling took longer than anybody wanted to wait */
    uint32_t unnoted;       /* chunks in a row that could not be noted down */
    bool ends;              /* this batch is settled before anything else is sent */
};

struct relay {
    const struct config *config;
    struct relay_mode mode;
    struct log *log;
    char id[37];

    int stop_fd;  /* readable: begin nothing new */
    int ended_fd; /* readable: all threads have ended */
    int quit_fd;  /* readable: keeper and watcher are to end */
    _Atomic bool stopping;
    _Atomic int64_t deadline_us; /* monotonic: when stopping must be over */

    int64_t hold_ms; /* how long a batch may be held */
    struct wakeup bell;
    struct suspension store_pause;
    struct publisher_state *publishers;
    struct unrouted_gauge held;
    struct poison probation;
    _Atomic bool has_looked; /* for predecessors */
    _Atomic uint64_t stale;
    _Atomic uint64_t refused;          /* failed before any publisher saw them */
    _Atomic int64_t deferred_until_us; /* once: messages wait for a paused publisher until then */

    struct worker *workers;
    size_t n_workers;       /* started */
    _Atomic size_t working; /* of these, not yet ended */
    _Atomic size_t running; /* threads of all kinds, not yet ended */

    pthread_mutex_t registry_lock; /* of the next, and of this relay's row */
    struct store registry_store;
    struct store keeper_store;
    pthread_t keeper;
    bool keeper_started;
    struct store watcher_store;
    pthread_t watcher;
    bool watcher_started;

    pthread_mutex_t outage_lock;
    char outage[384];
};

/* worker.c */
void worker_init(struct worker *worker, struct relay *relay);
int worker_open(struct worker *worker, struct outbox_err *err);
void worker_close(struct worker *worker);
void *worker_main(void *worker);

/* desk.c */
/* Room for batches of n messages, before any is claimed. 0, or -1 without memory. */
int batch_reserve(struct batch *desk, size_t n);
int batch_take(struct batch *desk, struct outbox_batch *batch);
void batch_clear(struct batch *desk);
void batch_free(struct batch *desk);
/* A zeroed item for a message; settled by the next worker_settle. */
struct outbox_settle *batch_item(struct batch *desk, uint32_t index);

/* settle.c: every item on the desk, until it is durable or the claim is lost. */
void worker_settle(struct worker *worker);
/* The same where the store settles in parts; else the items wait for the rest of the batch. */
void worker_settle_part(struct worker *worker);

/* deliver.c: publishes what was routed to one publisher and settles it. */
void worker_deliver(struct worker *worker, size_t publisher);

/* Charges a message that was alone in flight when a relay died, and publishes it no more this time.
 */
void worker_charge(struct worker *worker, uint32_t index);

/* tend.c: lets idle publishers serve their connections, and looks whether those that are out of
 * order are back; when the first wants it again (monotonic us). */
int64_t worker_tend(struct worker *worker);

/* health.c: what was said of a publisher as a whole, told to the other workers and to people. */
/* It is out of order; how long it is left alone, ms. `culprit` as breaker_failed. */
int64_t publisher_failed(struct worker *worker, size_t publisher, uint64_t culprit,
                         int64_t after_ms, struct outbox_str reason);
void publisher_passed(struct worker *worker, size_t publisher);
/* It says that it is in order; no message was sent. */
void publisher_asked(struct worker *worker, size_t publisher);
/* Asks it by its own check; opens it if need be. */
int publisher_check(struct worker *worker, size_t publisher, int64_t timeout_ms,
                    struct outbox_err *err);
int publisher_open(struct worker *worker, size_t publisher, struct outbox_err *err);

/* keeper.c, watcher.c */
void *janitor_main(void *relay);
void *watcher_main(void *relay);

/* registry.c: this relay's row for people and for the other relays. */
struct heartbeat_view {
    uint64_t accepted; /* at the last put, for the rate */
    int64_t at_us;
    uint64_t hash; /* of what was written, to see whether something changed */
    int64_t warned_us;
};
int heartbeat_put(struct relay *relay, struct heartbeat_view *view, bool clean,
                  struct outbox_err *err);
/* The same at once, for what must be there before something else is done. */
int heartbeat_record(struct relay *relay, struct outbox_err *err);
/* Looks for predecessors that ended uncleanly, and goes on probation for them. */
int predecessors_load(struct relay *relay, struct outbox_err *err);
/* Warns when another live relay routes differently. */
void heartbeat_compare(struct relay *relay, struct heartbeat_view *view,
                       const struct outbox_call *call);

/* relay.c */
bool relay_stopping(const struct relay *relay);
/* True when a once-relay has waited long enough for this; remembers it as the outage. */
bool relay_gives_up(struct relay *relay, struct suspension *pause, const char *what);
void relay_remember_outage(struct relay *relay, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* What is left of the time for stopping, ms; at most `most`. */
int64_t relay_left_ms(const struct relay *relay, int64_t most);
void relay_worker_ended(struct relay *relay);
/* The last thing that a thread of any kind does. */
void relay_thread_ended(struct relay *relay);

#endif
