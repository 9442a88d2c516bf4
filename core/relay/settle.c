/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "common/backoff.h"
#include "common/failpoint.h"
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

bool settle_queue_outcome(struct worker *w, uint32_t index, size_t publisher,
                          const struct outbox_outcome *outcome, int64_t pause_ms)
{
    struct publisher_state *state = &w->relay->publishers[publisher];
    struct outcome_terms terms = {
        .delivery = &state->config->delivery,
        .delete_done = w->relay->config->retention_ms == 0,
        .pause_ms = pause_ms,
        .store_delays = (w->store.capabilities & OUTBOX_STORE_DELAY) != 0,
    };
    struct outbox_settle settle;
    if (!outcome_settle(&terms, w->batch.claimed->messages[index], outcome, &settle))
        return false;
    if (settle.action == OUTBOX_SETTLE_FAILED) {
        dead_letter_queue(w, index, publisher, settle.flags, settle.reason);
        return true;
    }
    batch_queue(&w->batch, index, &settle);
    if (outcome->verdict == OUTBOX_UNAVAILABLE && pause_ms > w->batch.deferred_ms)
        w->batch.deferred_ms = pause_ms;
    if (outcome->verdict == OUTBOX_ACCEPTED) {
        state->accepted++;
        return true;
    }
    if (outcome->verdict == OUTBOX_RETRY)
        state->retried++;
    batch_log_queued(&w->batch, w->relay->log, OUTBOX_LOG_DEBUG, "message will be tried again",
                     state->config->name);
    return true;
}

/* ---- settling ---- */

static void count_stale(struct worker *w)
{
    uint64_t n = 0;
    for (size_t i = 0; i < w->batch.n_items; i++)
        n += w->batch.stale[i];
    if (n == 0)
        return;
    w->relay->stale += n;
    log_event(w->relay->log, OUTBOX_LOG_WARNING,
              "settled too late: the claim had been lost, so these messages may arrive twice",
              "messages", LOG_NUM((int64_t)n), NULL);
}

/* `run --once` has its own patience. */
static int64_t patience_left_ms(const struct relay *relay, int64_t began_us)
{
    int64_t left = context_left_ms(relay, STORE_CALL_MS);
    int64_t patience = relay->mode.wait_ms - (clock_monotonic_us() - began_us) / 1000;
    return relay->mode.once && patience < left ? patience : left;
}

static enum batch_state give_up(struct worker *w, int r, const struct outbox_err *err)
{
    int64_t n = (int64_t)w->batch.n_items;
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
    int64_t until = clock_monotonic_us() + w->batch.deferred_ms * 1000;
    int64_t known = w->relay->deferred_until_us;
    while (w->batch.deferred_ms > 0 && until > known &&
           !atomic_compare_exchange_weak(&w->relay->deferred_until_us, &known, until))
        ;
}

/*
 * Tried again until it succeeds, because the messages were sent: giving up sends them twice. There
 * are three ends: the store dropped the batch, so that no try can succeed; the time for stopping is
 * over; or `run --once` has waited for as long as it was to.
 */
enum batch_state settle_batch(struct worker *w)
{
    struct batch *batch = &w->batch;
    struct outbox_err err = {.size = sizeof err};
    enum batch_state state = BATCH_OPEN;
    int64_t began_us = clock_monotonic_us();
    for (uint32_t tries = 0; batch->n_items > 0; tries++) {
        int64_t left = patience_left_ms(w->relay, began_us);
        int64_t try_ms = context_left_ms(w->relay, left < TRY_LEAST_MS ? TRY_LEAST_MS : left);
        struct outbox_call call = store_call(try_ms, -1);
        memset(batch->stale, 0, batch->n_items);
        failpoint("before_settle");
        int r = store_settle(&w->store, batch->claimed, batch->item_ptrs, batch->n_items, &call,
                             batch->stale, &err);
        if (r == OUTBOX_OK) {
            count_stale(w);
            remember_deferral(w);
            if (tries > 0)
                log_event(w->relay->log, OUTBOX_LOG_INFO, "settled after all", NULL);
            break;
        }
        if (tries == 0)
            log_event(w->relay->log, OUTBOX_LOG_WARNING, "cannot settle; trying again", "messages",
                      LOG_NUM((int64_t)batch->n_items), "error", err.text, NULL);
        if (r == OUTBOX_E_BROKEN || left <= 0) {
            state = give_up(w, r, &err);
            break;
        }
        poll(NULL, 0,
             (int)backoff_ms(SETTLE_RETRY_MIN_MS, SETTLE_RETRY_MAX_MS, tries, BACKOFF_UPPER));
    }
    batch_forget_items(batch);
    return state;
}

bool settle_is_partial(const struct worker *w)
{
    return (w->store.capabilities & OUTBOX_STORE_PARTIAL) != 0;
}

enum batch_state settle_part(struct worker *w)
{
    if (settle_is_partial(w))
        return settle_batch(w);
    batch_keep_reasons(&w->batch);
    return BATCH_OPEN;
}
