/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "common/backoff.h"
#include "common/failpoint.h"
#include "common/utf8.h"
#include "policy/outcome.h"
#include "relay/worker.h"

#include <poll.h>
#include <string.h>

#define SETTLE_RETRY_MIN_MS 50
#define SETTLE_RETRY_MAX_MS 2000
/* However little patience is left a try is worth a moment: what is not settled was sent for
 * nothing.
 */
#define TRY_LEAST_MS 2000

/* ---- the queue ---- */

void settle_queue(struct worker *w, uint32_t index, size_t publisher, struct outbox_settle *settle)
{
    const struct config *config = w->relay->config;
    const struct delivery *terms =
        publisher == ROUTE_NONE ? &config->delivery : &config->publishers[publisher].delivery;
    outcome_add_second(terms, w->slot->batch.claimed->messages[index], settle);
    batch_queue(&w->slot->batch, index, publisher, settle);
}

bool settle_queue_outcome(struct worker *w, uint32_t index, size_t publisher,
                          const struct outbox_outcome *outcome, int64_t pause_ms)
{
    struct publisher_state *state = &w->relay->publishers[publisher];
    struct outcome_terms terms = {
        .delivery = &state->config->delivery,
        .delete_done = w->relay->config->retention_ms == 0,
        .pause_ms = pause_ms,
        .store_delays = (w->slot->store.capabilities & OUTBOX_STORE_DELAY) != 0,
    };
    struct outbox_settle settle;
    if (!outcome_settle(&terms, w->slot->batch.claimed->messages[index], outcome, &settle))
        return false;
    if (settle.action == OUTBOX_SETTLE_FAILED) {
        dead_letter_queue(w, index, publisher, settle.flags, settle.reason);
        return true;
    }
    settle_queue(w, index, publisher, &settle);
    if (outcome->verdict == OUTBOX_UNAVAILABLE && pause_ms > w->slot->batch.deferred_ms)
        w->slot->batch.deferred_ms = pause_ms;
    if (outcome->verdict != OUTBOX_ACCEPTED)
        batch_log_queued(&w->slot->batch, w->relay->log, OUTBOX_LOG_DEBUG,
                         "message will be tried again", state->config->name);
    return true;
}

/* ---- what was settled is counted ---- */

static void count_outcome(struct relay *relay, size_t publisher, uint32_t action, uint32_t flags)
{
    struct publisher_state *state = publisher == ROUTE_NONE ? NULL : &relay->publishers[publisher];
    if (action == OUTBOX_SETTLE_RETRY && !(flags & OUTBOX_SETTLE_CHARGE))
        return; /* it waits as before */
    if (action == OUTBOX_SETTLE_FAILED)
        atomic_fetch_add(state ? &state->common->failed : &relay->failed, 1);
    else if (state)
        atomic_fetch_add(
            action == OUTBOX_SETTLE_RETRY ? &state->common->retried : &state->common->accepted, 1);
    activity_note(&relay->done);
    if (state)
        activity_note(&state->common->done);
}

static void log_refused(struct worker *w, const struct outbox_settle *item)
{
    const struct outbox_message *msg = w->slot->batch.claimed->messages[item->index];
    bool failed = item->refused_action == OUTBOX_SETTLE_FAILED;
    char id[64];
    utf8_clean(msg->row_id.p, (size_t)msg->row_id.n, id, sizeof id);
    log_event(w->relay->log, OUTBOX_LOG_WARNING,
              failed ? "the table refused a message's outcome; message failed"
                     : "the table refused a message's outcome; it will be sent again, charged",
              "id", id, NULL);
}

/* Of the queue, after a settle that passed. False: nothing of it is known to be written. */
static bool count_settled(struct worker *w)
{
    struct batch *batch = &w->slot->batch;
    size_t n_stale = 0;
    for (size_t i = 0; i < batch->n_items; i++) {
        const struct outbox_settle *item = &batch->items[i];
        size_t publisher = batch->item_publishers[i];
        if (batch->settled[i] == OUTBOX_SETTLED_STALE) {
            n_stale++;
        } else if (batch->settled[i] == OUTBOX_SETTLED_REFUSED) {
            count_outcome(w->relay, publisher, item->refused_action, item->refused_flags);
            log_refused(w, item);
        } else if (batch->settled[i] == OUTBOX_SETTLED_QUARANTINED) {
            quarantine_gauge_add(&w->quarantine);
        } else {
            count_outcome(w->relay, publisher, item->action, item->flags);
        }
    }
    w->stale_batches = n_stale == batch->n_items ? w->stale_batches + 1 : 0;
    if (n_stale == 0)
        return true;
    w->relay->stale += n_stale;
    log_event(w->relay->log, OUTBOX_LOG_WARNING,
              "settled too late: the claim had been lost, so these messages may arrive twice",
              "messages", LOG_NUM((int64_t)n_stale), NULL);
    return n_stale < batch->n_items;
}

/* ---- settling ---- */

/* `run --once` has its own patience. */
static int64_t patience_left_ms(const struct relay *relay, int64_t began_us)
{
    int64_t left = context_left_ms(relay, STORE_CALL_MS);
    int64_t patience = relay->mode.wait_ms - (clock_monotonic_us() - began_us) / 1000;
    return relay->mode.once && patience < left ? patience : left;
}

static enum batch_state give_up(struct worker *w, int r, const struct outbox_err *err)
{
    int64_t n = (int64_t)w->slot->batch.n_items;
    bool lost = r == OUTBOX_E_BROKEN;
    if (lost)
        w->relay->stale += (uint64_t)n;
    else if (w->relay->mode.once)
        context_remember_outage(w->relay, "the store did not take what was sent: %s", err->text);
    log_event(w->relay->log, OUTBOX_LOG_ERROR,
              "gave up settling: these messages will be published again", "messages", LOG_NUM(n),
              "error", err->text, NULL);
    return lost ? BATCH_LOST : BATCH_UNSETTLED;
}

/* For once_is_done: what waits for a suspended publisher is due by the time of its settle, however
 * late that came. */
static void remember_deferral(struct worker *w)
{
    int64_t until = clock_monotonic_us() + w->slot->batch.deferred_ms * 1000;
    int64_t known = w->relay->deferred_until_us;
    while (w->slot->batch.deferred_ms > 0 && until > known &&
           !atomic_compare_exchange_weak(&w->relay->deferred_until_us, &known, until))
        ;
}

int settle_once(struct worker *w, int64_t timeout_ms, struct outbox_err *err)
{
    struct batch *batch = &w->slot->batch;
    struct outbox_call call = store_call(timeout_ms, -1);
    memset(batch->settled, OUTBOX_SETTLED, batch->n_items);
    activity_begin(&w->activity, ACTIVITY_SETTLING, ROUTE_NONE);
    failpoint("before_settle");
    int r = store_settle(&w->slot->store, batch->claimed, batch->item_ptrs, batch->n_items, &call,
                         batch->settled, err);
    if (r < 0) {
        settle_health_failed(w->relay, err);
    } else if (count_settled(w)) {
        activity_moved(&w->activity);
        settle_health_passed(w->relay);
    }
    return r;
}

/*
 * Tried again until it succeeds, because the messages were sent: giving up sends them twice. There
 * are three ends: the store dropped the batch, so that no try can succeed; the time for stopping is
 * over; or `run --once` has waited for as long as it was to.
 */
enum batch_state settle_batch(struct worker *w)
{
    struct batch *batch = &w->slot->batch;
    struct outbox_err err = {.size = sizeof err};
    enum batch_state state = BATCH_OPEN;
    int64_t began_us = clock_monotonic_us();
    struct reminder reminder = {0};
    bool failed = false;
    for (uint32_t tries = 0; batch->n_items > 0; tries++) {
        int64_t left = patience_left_ms(w->relay, began_us);
        int64_t try_ms = context_left_ms(w->relay, left < TRY_LEAST_MS ? TRY_LEAST_MS : left);
        int r = settle_once(w, try_ms, &err);
        if (r == OUTBOX_OK) {
            remember_deferral(w);
            if (failed && w->stale_batches == 0)
                log_event(w->relay->log, OUTBOX_LOG_INFO, "settled after all", NULL);
            break;
        }
        w->relay->settlers += !failed;
        failed = true;
        if (reminder_is_due(&reminder, clock_monotonic_us()))
            log_event(w->relay->log, OUTBOX_LOG_WARNING, "cannot settle; trying again", "messages",
                      LOG_NUM((int64_t)batch->n_items), "error", err.text, NULL);
        if (r == OUTBOX_E_BROKEN || left <= 0) {
            state = give_up(w, r, &err);
            break;
        }
        poll(NULL, 0,
             (int)backoff_ms(SETTLE_RETRY_MIN_MS, SETTLE_RETRY_MAX_MS, tries, BACKOFF_UPPER));
    }
    w->relay->settlers -= failed;
    batch_forget_items(batch);
    return state;
}

bool settle_is_partial(const struct worker *w)
{
    return (w->slot->store.capabilities & OUTBOX_STORE_PARTIAL) != 0;
}

enum batch_state settle_part(struct worker *w)
{
    if (settle_is_partial(w))
        return settle_batch(w);
    batch_keep_reasons(&w->slot->batch);
    return BATCH_OPEN;
}
