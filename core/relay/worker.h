/* SPDX-License-Identifier: Apache-2.0 */
/* worker.h - one worker: claim, route, publish, settle; with its parts. Everything but the batch's
 * lease, its activity, its call and its quarantine is its thread's. */
#pragma once

#include "plugin/publisher.h"
#include "plugin/store.h"
#include "policy/activity.h"
#include "policy/own_pause.h"
#include "policy/quarantine_gauge.h"
#include "relay/batch.h"
#include "relay/context.h"
#include "route/router.h"

/* How many batches a worker may hold while messages of them are in flight (outstanding.c). */
#define WORKER_SLOTS 4

/* A batch with the store instance that has claimed it. Only the first one is open from the start.
 */
struct slot {
    struct store store;
    struct batch batch;
};

struct worker {
    struct relay *relay;
    struct slot *slot; /* that is worked on */
    struct slot slots[WORKER_SLOTS];
    size_t n_slots;           /* one, if all publishers are plain */
    int64_t no_more_until_us; /* monotonic: until then no further batch besides those in flight */
    struct publisher **publishers; /* its own instances, by the index of relay->publishers */
    struct router *router;
    struct own_pause store_pause;
    struct own_pause *publisher_pauses; /* by the same index */
    uint32_t limit;           /* of the next claim, see resize_claim(); 0: of the first one */
    size_t first_publisher;   /* goes first with the next batch */
    uint32_t record_failures; /* in a row, of record_in_flight */
    uint32_t stale_batches;   /* in a row, of which no message was settled in time */
    bool once_last;           /* once: the other workers have ended */
    bool gave_up;             /* settling something: it ends */
    bool was_ready;           /* a publisher's descriptor said that outcomes are there */
    bool waits_to_retry;      /* a batch could not be recorded or settled in time */
    int64_t serve_us;         /* without a free slot: when publishers are served next, monotonic */
    bool settle_probe;        /* this batch is only to find out whether settles pass */
    struct quarantine_gauge quarantine;
    struct activity activity;
    struct current_call call;
    bool may_begin;     /* the worker before it has ended; under relay->begin_lock */
    _Atomic bool ended; /* all that it had is closed */
};

int worker_open(struct worker *w, struct relay *relay, struct outbox_err *err);
void worker_shut(struct worker *w);  /* closes all that may block in a plugin; again is nothing */
void worker_close(struct worker *w); /* also when never opened (zeroed) */
void *worker_main(void *worker);
/* The end of a batch: settles what is queued, gives back the rest. While messages are in flight it
 * is only left; state: what may still be done with it. */
void worker_finish(struct worker *w, enum batch_state state);

/* ---- succession.c: one worker after that of the relay before ---- */

/* Waits until it may begin, or the relay stops. */
void succession_await(struct worker *w);
/* Leaves to the next worker the instances that are kept; then, when the rest is closed, lets it
 * begin. */
void succession_pass_on(struct worker *w);
void succession_end(struct worker *w);

/* ---- deliver.c: one publisher's share of a batch, in chunks, each settled at once ---- */

/* Publishes what was routed to this publisher. */
enum batch_state deliver_share(struct worker *w, size_t publisher);

/* ---- outstanding.c: what asynchronous publishers have, while the worker goes on ---- */

/* When the first batch that has messages in flight is to be settled, monotonic; INT64_MAX: none. */
int64_t outstanding_deadline_us(const struct worker *w);
bool outstanding_any(const struct worker *w);
/* Takes a free slot as w->slot. False: there is none, or the store takes no more claims. */
bool outstanding_choose_slot(struct worker *w);
/* A claim failed while messages are in flight: perhaps there is no room for so many. */
void outstanding_no_more(struct worker *w, const struct outbox_err *err);

/* Submits a chunk; chunk->n becomes how many were taken. Returns for how long the publisher is
 * suspended, ms. When it is full it waits a moment. */
int64_t outstanding_submit(struct worker *w, struct chunk *chunk);
/* Stays with the batch just submitted as long as its outcomes keep coming. */
void outstanding_stay(struct worker *w);
/* Collects what came, or comes within wait_ms; settles it, and finishes batches that were left.
 * True: it finished one. */
bool outstanding_serve(struct worker *w, int64_t wait_ms);
/* wakeup_wait, which ends with false when there may be something to be served, too. */
bool outstanding_wait(struct worker *w, int64_t due_us, int64_t own_us);
/* Until this publisher has none, for calls that need that. */
void outstanding_await(struct worker *w, size_t publisher);
/* The worker ends: what is in flight has the time that is left for that. */
void outstanding_end(struct worker *w);

/* ---- idle.c: a worker without messages serves its publishers, and waits ---- */

/* Until there may be messages: at due_us (monotonic; INT64_MAX: unknown), the next poll or a signal
 * of the store; or until a publisher is to be served again. */
void idle_wait(struct worker *w, int64_t due_us);
/* Keepalive and probes. When they are wanted again, monotonic us; INT64_MAX: any time. */
int64_t idle_serve(struct worker *w);

/* ---- once.c: when `run --once` is over ---- */

/* Asked when nothing was claimed; `claimed`: because nothing is due, the next message at due_us. */
bool once_is_over(struct worker *w, bool claimed, int64_t due_us);

/* ---- dead_letter.c: the one function through which every dead letter passes ---- */

/*
 * The one way in which a message becomes `failed`: queues and logs it. It goes this way
 * because
 *   - its row cannot be read or is too large (worker.c: route),
 *   - no route takes it, with `unrouted = fail` (worker.c: route),
 *   - its publisher rejected it, or this was the last of max_retries attempts (policy/outcome.c),
 *   - it killed its relay at the last of these attempts (worker.c: fail_poison_message).
 * Only the store itself makes others: where the table refuses the outcome of the last attempt, by
 * the second outcome of settle_queue.
 * `flags` are those of outbox_settle; `publisher` is ROUTE_NONE when none saw the message. The
 * reason is borrowed as by batch_queue.
 */
void dead_letter_queue(struct worker *w, uint32_t index, size_t publisher, uint32_t flags,
                       struct outbox_str reason);

/* ---- settle.c: what became of messages is queued, and made durable ---- */

/* Queues what is to become of a message, with what becomes of it if the table refuses that.
 * Otherwise as batch_queue. */
void settle_queue(struct worker *w, uint32_t index, size_t publisher, struct outbox_settle *settle);
/* Queues and logs what a publisher's outcome makes of a message. `pause_ms`: for how long
 * the publisher is suspended. False: nothing; the message is to be released as it is. */
bool settle_queue_outcome(struct worker *w, uint32_t index, size_t publisher,
                          const struct outbox_outcome *outcome, int64_t pause_ms);

/* Settles all that is queued, in one try, and tells settle_health what came of it. */
int settle_once(struct worker *w, int64_t timeout_ms, struct outbox_err *err);
/* Settles all that is queued, until it is durable or the claim is lost. */
enum batch_state settle_batch(struct worker *w);
/* The same where the store settles a batch in parts; else the queue waits for the whole batch. */
enum batch_state settle_part(struct worker *w);
bool settle_is_partial(const struct worker *w);

/* ---- settle_health.c: whether messages can be settled at all, for all workers of the relay ----
 */

/* A settle of this batch failed: nothing more is published until one has passed. */
void settle_health_failed(struct relay *relay, const struct outbox_err *err);
void settle_health_passed(struct relay *relay);
bool settle_health_is_paused(struct relay *relay);

/* Before a claim: for how long it would be of no use, ms. With 0, *ret_probe tells whether to claim
 * one message for settle_health_probe. Else settle_health_unknown: `nothing` was due, so that
 * nothing waits; or the store could not be asked. */
int64_t settle_health_enter(struct relay *relay, bool *ret_probe);
void settle_health_unknown(struct relay *relay, bool nothing);
/* Settles the claimed message as it is, to see whether that passes, once. */
enum batch_state settle_health_probe(struct worker *w);

/* ---- publisher_health.c: whether a publisher as a whole is available, for its breaker ---- */

/* What a publish call says of the publisher. Returns for how long it is suspended, ms; 0: not. May
 * change an outcome: a message that makes its publisher unavailable again and again is charged. */
int64_t publisher_health_report(struct worker *w, struct chunk *chunk);

/* It is unavailable: arguments as breaker_failed. Returns for how long it is suspended, ms. */
int64_t publisher_health_failed(struct worker *w, size_t publisher, uint64_t culprit,
                                int64_t after_ms, struct outbox_str reason);

/* Asks the publisher's own check, after breaker_enter. When it fails, *ret_pause_ms says for how
 * long the publisher is suspended. After OUTBOX_OK the breaker still waits for a report;
 * OUTBOX_E_CANCELLED and OUTBOX_E_FULL say nothing of the publisher. */
int publisher_health_check(struct worker *w, size_t publisher, int64_t timeout_ms,
                           int64_t *ret_pause_ms);
