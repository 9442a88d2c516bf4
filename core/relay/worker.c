/* SPDX-License-Identifier: Apache-2.0 */
#include "relay/worker.h"

#include "base/clock.h"
#include "common/backoff.h"
#include "common/failpoint.h"
#include "relay/heartbeat.h"

#include <outbox/helpers.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 2000
#define SERVE_US 1000000
/* With all slots in use outcomes are waited for so long at a time. */
#define NO_SLOT_MS 100

/* ---- claim ---- */

static void release(struct worker *w, enum batch_state state)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call call = store_call(STORE_CALL_MS, -1);
    activity_begin(&w->activity, ACTIVITY_RELEASING, ROUTE_NONE);
    lease_set(&w->slot->batch.lease, (struct outbox_str){NULL, 0}, 0);
    if (store_release(&w->slot->store, w->slot->batch.claimed, &call, &err) < 0 &&
        state != BATCH_LOST)
        log_event(w->relay->log, OUTBOX_LOG_WARNING,
                  "cannot give back what is left of a batch; it is free when its claim ends",
                  "error", err.text, NULL);
    batch_clear(&w->slot->batch);
}

static void store_failed(struct worker *w, int r, const struct outbox_err *err)
{
    struct suspension *suspension = &w->relay->store_suspension;
    int64_t pause_ms;
    if (r == OUTBOX_E_CANCELLED && w->relay->stopping) {
        suspension_unknown(suspension);
        return;
    }
    bool told;
    if (own_pause_failed(&w->store_pause, w->relay->claimed_us, 0, clock_monotonic_us(), &told)) {
        suspension_unknown(suspension);
        if (told)
            log_event(w->relay->log, OUTBOX_LOG_WARNING,
                      "a worker cannot use the store, though others can; it waits: if connections "
                      "are limited, lower `workers`",
                      "error", err->text, NULL);
        return;
    }
    if (suspension_failed(suspension, 0, err->text, strlen(err->text), &pause_ms))
        log_event(w->relay->log, OUTBOX_LOG_WARNING,
                  "the store is unavailable; trying again until it is there", "error", err->text,
                  NULL);
}

/* A batch that does not fit its time is claimed for nothing, and a claim that fails may be too much
 * for the store: take less, then more again. After a relay that ended uncleanly the first claims
 * are small: it may have been killed in its claim. */
static void resize_claim(struct worker *w, bool fits)
{
    uint32_t most = w->relay->config->delivery.batch_size;
    if (fits)
        w->limit = w->limit > most / 2 ? most : w->limit * 2;
    else
        w->limit = w->limit > 1 ? w->limit / 2 : 1;
}

static int call_claim(struct worker *w, struct outbox_err *err)
{
    struct relay *relay = w->relay;
    const struct config *config = relay->config;
    struct outbox_batch *claimed = NULL;
    int r = heartbeat_load_predecessors(relay, err);
    if (r == 0 && w->limit == 0)
        w->limit = poison_is_suspected(&relay->lineage->poison) ? 1 : config->delivery.batch_size;
    struct outbox_claim claim = {
        .size = sizeof claim,
        .limit = w->settle_probe ? 1 : w->limit,
        .lease_ms = (uint32_t)config->lease_ms,
        .max_bytes = config->batch_bytes,
        .max_message = config->max_message,
        .max_headers = config->max_headers,
        .max_header_bytes = config->max_header_bytes,
        .relay = outbox_cstr(relay->row->id),
        .hold_ms = relay->hold_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)relay->hold_ms,
    };
    struct outbox_call call = store_call(STORE_CALL_MS, relay->stop_fd);
    int64_t now = clock_monotonic_us();
    if (r == 0)
        r = store_claim(&w->slot->store, &claim, &call, &claimed, err);
    if (r < 0)
        return r;
    w->slot->batch.deadline_us = now + relay->hold_ms * 1000;
    lease_set(&w->slot->batch.lease, claimed->lease, now + config->lease_ms * 1000);
    if (batch_take(&w->slot->batch, claimed) == 0)
        return OUTBOX_OK;
    release(w, BATCH_OPEN);
    return outbox_fail(err, store_finish(&w->slot->store, OUTBOX_E_BROKEN),
                       "store-%s claimed more messages than asked for, or not in order of seq; the "
                       "plugin is broken",
                       config->store_plugin->desc.name);
}

/* Takes a batch, which may be empty. False: none, because the store is unavailable. Either way
 * *ret_due_us is when it is worth while to claim again; INT64_MAX: not known. */
static bool claim(struct worker *w, int64_t *ret_due_us)
{
    struct suspension *suspension = &w->relay->store_suspension;
    struct outbox_err err = {.size = sizeof err};
    int64_t wait_ms = settle_health_enter(w->relay, &w->settle_probe);
    if (wait_ms == 0 && (wait_ms = suspension_enter(suspension, NULL)) > 0 && w->settle_probe)
        settle_health_unknown(w->relay, false);
    if (wait_ms > 0) {
        *ret_due_us = clock_monotonic_us() + wait_ms * 1000;
        return false;
    }
    activity_begin(&w->activity, ACTIVITY_CLAIMING, ROUTE_NONE);
    int r = call_claim(w, &err);
    if (w->settle_probe && (r < 0 || w->slot->batch.claimed->n == 0))
        settle_health_unknown(w->relay, r == 0);
    if (r < 0) {
        if (outstanding_any(w)) {
            suspension_unknown(suspension);
            outstanding_no_more(w, &err);
            *ret_due_us = w->no_more_until_us;
            return false;
        }
        resize_claim(w, false);
        store_failed(w, r, &err);
        *ret_due_us = suspension_snapshot(suspension).until_us;
        return false;
    }
    own_pause_passed(&w->store_pause);
    w->relay->claimed_us = clock_monotonic_us();
    if (suspension_passed(suspension)) {
        w->relay->heartbeat_due = true;
        log_event(w->relay->log, OUTBOX_LOG_INFO, "the store is back", NULL);
    }
    const struct outbox_batch *claimed = w->slot->batch.claimed;
    quarantine_gauge_set(&w->quarantine, claimed);
    *ret_due_us =
        claimed->next_due_ms < 0 ? INT64_MAX : clock_monotonic_us() + claimed->next_due_ms * 1000;
    if (claimed->more)
        wakeup_signal(&w->relay->wakeup);
    return true;
}

/* ---- route ---- */

/* Promise 7: what no route takes is kept; what could only not be routed now (`r`), all the more. */
static void keep_unrouted(struct worker *w, uint32_t i, int r, const struct outbox_err *err)
{
    const struct config *config = w->relay->config;
    struct outbox_settle settle = {.action = OUTBOX_SETTLE_RETRY, .flags = OUTBOX_SETTLE_REASON};
    char text[sizeof err->text + 16];
    bool later = r == OUTBOX_E_RETRY;
    settle.delay_ms = later ? config->delivery.retry_min_ms : UNROUTED_HOLD_MS;
    snprintf(text, sizeof text, "%s%s", later ? "" : "unrouted: ", err->text);
    if (arena_str(&w->slot->batch.reasons, text, strlen(text), &settle.reason) < 0)
        settle.reason = outbox_cstr("unrouted");
    if (config->unrouted_fail && !later) {
        dead_letter_queue(w, i, ROUTE_NONE, OUTBOX_SETTLE_CHARGE, settle.reason);
        return;
    }
    if (!later)
        unrouted_gauge_count(&w->relay->unrouted);
    if (w->slot->store.capabilities & OUTBOX_STORE_DELAY)
        settle_queue(w, i, ROUTE_NONE, &settle);
}

/* Charges a message that was alone in flight when a relay died, and publishes it no more now. */
static void fail_poison_message(struct worker *w, uint32_t i)
{
    const struct outbox_outcome outcome = {
        .size = sizeof outcome,
        .verdict = OUTBOX_RETRY,
        .reason = outbox_cstr("the relay died while this message alone was being published")};
    settle_queue_outcome(w, i, w->slot->batch.publisher[i], &outcome, 0);
    w->slot->batch.publisher[i] = ROUTE_NONE;
}

static enum batch_state route(struct worker *w)
{
    struct batch *batch = &w->slot->batch;
    bool charged = false;
    for (uint32_t i = 0; i < batch->claimed->n; i++) {
        const struct outbox_message *msg = batch->claimed->messages[i];
        const struct route *by;
        struct outbox_err err = {.size = sizeof err};
        int r;
        batch->publisher[i] = ROUTE_NONE;
        if (msg->defect.p) {
            dead_letter_queue(w, i, ROUTE_NONE, 0, msg->defect);
        } else if ((r = router_route(w->router, msg, NULL, NULL, &batch->publisher[i], &by, &err)) <
                   0) {
            keep_unrouted(w, i, r, &err);
        } else if (poison_pop_charge(&w->relay->lineage->poison, msg->row_id)) {
            fail_poison_message(w, i);
            charged = true;
        }
    }
    if (!charged) { /* settled with the first chunk: a commit less */
        batch_keep_reasons(batch);
        return BATCH_OPEN;
    }
    /* A charge becomes durable before anything is sent that may kill this relay, too. */
    enum batch_state state = settle_part(w);
    return state == BATCH_OPEN && !settle_is_partial(w) ? BATCH_CLOSED : state;
}

/* ---- publish ---- */

/* The publisher whose share did not fit the time goes first with the next batch. */
static enum batch_state publish(struct worker *w)
{
    size_t n = w->relay->config->n_publishers, first = w->first_publisher;
    enum batch_state state = BATCH_OPEN;
    for (size_t k = 0; k < n && state == BATCH_OPEN; k++) {
        bool cut_short_before = w->slot->batch.cut_short;
        state = deliver_share(w, (first + k) % n);
        if (w->slot->batch.cut_short && !cut_short_before)
            w->first_publisher = (first + k) % n;
    }
    return state;
}

static void pause_worker(struct worker *w, int64_t ms)
{
    struct pollfd ends[] = {{.fd = w->relay->stop_fd, .events = POLLIN},
                            {.fd = w->relay->drain_fd, .events = POLLIN}};
    poll(ends, 2, (int)ms);
}

/* What could not be recorded or settled would be claimed again at once. */
static void wait_before_retry(struct worker *w)
{
    uint32_t times = w->stale_batches > 0 ? w->stale_batches : w->record_failures;
    w->waits_to_retry = false;
    if (times > 0)
        pause_worker(w, backoff_ms(RETRY_MIN_MS, RETRY_MAX_MS, times - 1, BACKOFF_UPPER));
}

/* A worker with trouble of its own leaves the messages, and the news of them, to the others. */
static void wait_out_own_pauses(struct worker *w)
{
    int64_t until_us = w->store_pause.until_us, now_us = clock_monotonic_us();
    for (size_t i = 0; i < w->relay->config->n_publishers; i++)
        if (w->publisher_pauses[i].until_us > until_us)
            until_us = w->publisher_pauses[i].until_us;
    for (; outstanding_any(w) && now_us < until_us && !w->relay->stopping && !w->relay->draining;
         now_us = clock_monotonic_us())
        outstanding_serve(w, (until_us - now_us) / 1000 + 1);
    if (until_us <= now_us)
        return;
    activity_begin(&w->activity, ACTIVITY_IDLE, ROUTE_NONE);
    pause_worker(w, (until_us - now_us) / 1000 + 1);
}

/* ---- wait ---- */

/* With every publisher suspended a claim would only be given back. 0: one of them is not. */
static int64_t all_suspended_until(struct relay *relay)
{
    int64_t first = relay->config->n_publishers > 0 ? INT64_MAX : 0;
    for (size_t i = 0; i < relay->config->n_publishers; i++) {
        struct suspension_view view =
            suspension_snapshot(&relay->publishers[i].common->breaker.suspension);
        if (!view.paused)
            return 0;
        first = view.until_us < first ? view.until_us : first;
    }
    return first;
}

/* ---- settle ---- */

void worker_finish(struct worker *w, enum batch_state state)
{
    struct batch *batch = &w->slot->batch;
    batch_raise(batch, state);
    batch->left = batch->n_in_flight > 0;
    batch_raise(batch, batch->left ? settle_part(w) : settle_batch(w));
    state = batch->state;
    w->gave_up |= state == BATCH_UNSETTLED;
    if (batch->left)
        return;
    release(w, state);
    w->waits_to_retry |= state == BATCH_UNRECORDED || w->stale_batches > 0;
}

/* While all slots are in use publishers are served about once a second. */
static void serve_publishers(struct worker *w)
{
    int64_t now_us = clock_monotonic_us();
    if (now_us < w->serve_us)
        return;
    int64_t again_us = idle_serve(w);
    w->serve_us = again_us < now_us + SERVE_US ? again_us : now_us + SERVE_US;
}

/* ---- all of it ---- */

/*
 * One batch: claim, route, publish, settle. False: the worker ends. Whatever ends the publishing
 * early, what was queued until then is settled and the rest released, so that nothing stays claimed
 * and nothing that was sent is sent again. Only without messages does the worker wait; what
 * asynchronous publishers have not answered yet is served in between.
 */
static bool run_batch(struct worker *w)
{
    struct relay *relay = w->relay;
    bool has_slot = outstanding_choose_slot(w);
    outstanding_serve(w, has_slot ? 0 : NO_SLOT_MS);
    wait_out_own_pauses(w);
    if (w->waits_to_retry)
        wait_before_retry(w);
    if (!has_slot) {
        serve_publishers(w);
        return !w->gave_up;
    }
    int64_t due_us = all_suspended_until(relay);
    bool claimed = due_us <= clock_monotonic_us() && claim(w, &due_us);
    if (!claimed || w->slot->batch.claimed->n == 0) {
        if (claimed)
            release(w, BATCH_OPEN);
        if (relay->mode.once && !outstanding_any(w) && once_is_over(w, claimed, due_us))
            return false;
        idle_wait(w, due_us);
        return !w->gave_up;
    }
    failpoint("after_claim");
    enum batch_state state = w->settle_probe ? settle_health_probe(w) : route(w);
    if (state == BATCH_OPEN)
        state = publish(w);
    outstanding_stay(w);
    resize_claim(w, !w->slot->batch.cut_short);
    worker_finish(w, state);
    return !w->gave_up;
}

void *worker_main(void *arg)
{
    struct worker *w = arg;
    current_call_adopt(&w->call, true);
    succession_await(w);
    while (!w->relay->stopping && !w->relay->draining && run_batch(w))
        continue;
    outstanding_end(w);
    succession_pass_on(w);
    worker_shut(w); /* within the time for stopping, and each worker its own */
    succession_end(w);
    context_worker_ended(w->relay);
    return NULL;
}
