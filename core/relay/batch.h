/* SPDX-License-Identifier: Apache-2.0 */
/* batch.h - a claimed batch on its way through one worker, and the lease that it is held by. */
#pragma once

#include "base/log.h"
#include "common/arena.h"

#include <outbox/publisher.h>
#include <outbox/store.h>

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define LEASE_MAX 128

/* What may still be done with a batch, in order: the later, the less. */
enum batch_state {
    BATCH_OPEN,       /* more of it may be published */
    BATCH_CLOSED,     /* it has to be settled, and its rest released, before more is published */
    BATCH_UNRECORDED, /* the same, because the relay's row cannot be written: see poison.h */
    BATCH_LOST,       /* the store dropped it, nothing can be settled */
    BATCH_UNSETTLED,  /* its outcomes were given up: the worker ends */
};

/* What the janitor renews while the batch is worked on. `lock` protects every field. */
struct lease {
    pthread_mutex_t lock;
    char text[LEASE_MAX];
    size_t n;         /* 0: nothing to renew */
    int64_t until_us; /* monotonic; as far as known */
};

/* Arrays hold `size` elements each; those of a chunk are used by one call of a publisher at a time.
 */
struct batch {
    struct outbox_batch *claimed; /* the store's batch; messages are in order of seq */
    int64_t deadline_us;          /* monotonic: when it is to be settled */
    struct lease lease;
    size_t size;
    size_t *publisher; /* of each message, or ROUTE_NONE: settled by the routing itself */
    uint32_t *index;   /* of one publisher's messages in `claimed`, in order */
    struct outbox_outcome *outcomes; /* of each message */

    const struct outbox_message **msgs;   /* of a chunk */
    struct outbox_outcome **outcome_ptrs; /* of a chunk */

    /* of asynchronous publishers, see outstanding.c */
    uint8_t *in_flight; /* each message: 1, it was submitted, and is the plugin's now */
    size_t n_in_flight;
    uint32_t *collected;  /* indices of what one collect brought */
    int64_t submitted_us; /* monotonic: the first submit, and by when all outcomes are there */
    int64_t expected_us;
    bool left;              /* the worker has gone on; what comes in ends the batch */
    enum batch_state state; /* as far as settling while messages were in flight has shown */

    bool cut_short;              /* not all of a publisher's share fit the time */
    bool hurried;                /* a publisher had less than its batch_timeout of it */
    struct outbox_settle *items; /* waiting to be settled */
    const struct outbox_settle **item_ptrs;
    size_t *item_publishers; /* who saw the item's message, or ROUTE_NONE */
    uint8_t *settled;        /* what became of each item: OUTBOX_SETTLED_ ... */
    size_t n_items;
    size_t n_kept;       /* of these, with a reason that is in `reasons` */
    int64_t deferred_ms; /* the longest time for which one waits for a suspended publisher */
    struct arena reasons;
    struct arena arrays;
};

/* What one publish call gets. */
struct chunk {
    size_t publisher;
    const uint32_t *index; /* of its messages in `claimed` */
    size_t n;
    int64_t timeout_ms;
    bool whole_time; /* timeout_ms is all of batch_timeout */
    bool in_time;    /* the call returned before timeout_ms was over */
    int result;      /* of the call */
    struct outbox_err err;
};

/* Room for `size` messages. OUTBOX_E_RETRY: no memory; batch_free is to be called all the same. */
int batch_init(struct batch *batch, size_t size);
void batch_free(struct batch *batch);

/* Begins with what the store claimed. OUTBOX_E_BROKEN: more than asked for, or not in order. */
int batch_take(struct batch *batch, struct outbox_batch *claimed);
void batch_clear(struct batch *batch);
/* Less may be done with it from now on, or as little as before. */
void batch_raise(struct batch *batch, enum batch_state state);

/* Queues what is to become of a message, which that publisher saw, or none (ROUTE_NONE). Its reason
 * is borrowed until it is settled or kept. */
void batch_queue(struct batch *batch, uint32_t index, size_t publisher,
                 const struct outbox_settle *settle);
/* One line on what was queued last. `publisher` NULL: no publisher saw the message. */
void batch_log_queued(const struct batch *batch, struct log *log, int level, const char *text,
                      const char *publisher);
/* Copies the reasons of the queue, because a publisher's are gone with its next call. */
void batch_keep_reasons(struct batch *batch);
/* Queued items are settled, or given up. */
void batch_forget_items(struct batch *batch);

/* ---- the lease ---- */

/* The batch that is worked on from now on; text NULL: none, or nothing to renew. */
void lease_set(struct lease *lease, struct outbox_str text, int64_t until_us);
/* Has the batch no lease, or one that lasts still? */
bool lease_is_valid(struct lease *lease);

/* What is to be renewed, copied to `buffer`; p NULL: nothing. */
struct outbox_str lease_copy(struct lease *lease, char buffer[LEASE_MAX]);
/* It was renewed, unless the worker has another one by now. */
void lease_renewed(struct lease *lease, struct outbox_str text, int64_t until_us);
