/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "common/failpoint.h"
#include "relay/heartbeat.h"
#include "relay/worker.h"

#include <outbox/helpers.h>

/* What a publisher's check may take before a probe, ms. */
#define PROBE_CHECK_MS 5000

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void publish(struct worker *w, struct chunk *chunk)
{
    struct outbox_call call = store_call(chunk->timeout_ms, w->relay->stop_fd);
    call.grace_ms = (uint32_t)(w->relay->config->shutdown_timeout_ms / 4 * 3);
    activity_begin(&w->activity, ACTIVITY_PUBLISHING, chunk->publisher);
    chunk->err = (struct outbox_err){.size = sizeof chunk->err};
    int64_t end_us = clock_monotonic_us() + chunk->timeout_ms * 1000;
    for (size_t i = 0; i < chunk->n; i++)
        w->slot->batch.outcome_ptrs[i] = &w->slot->batch.outcomes[chunk->index[i]];
    chunk->result = publisher_publish(w->publishers[chunk->publisher], w->slot->batch.msgs,
                                      chunk->n, &call, w->slot->batch.outcome_ptrs, &chunk->err);
    chunk->in_time = clock_monotonic_us() < end_us;
    failpoint("after_confirm");
}

/* False: not all messages were given the time that they needed. */
static bool queue_outcomes(struct worker *w, const struct chunk *chunk, int64_t pause_ms)
{
    bool fits = true;
    for (size_t i = 0; i < chunk->n; i++)
        if (!settle_queue_outcome(w, chunk->index[i], chunk->publisher,
                                  &w->slot->batch.outcomes[chunk->index[i]], pause_ms))
            fits = chunk->whole_time && chunk->result != OUTBOX_E_TIMEOUT;
    return fits;
}

/* Messages of a suspended publisher are delayed, rather than claimed again and again. */
static enum batch_state defer(struct worker *w, size_t publisher, const uint32_t *index, size_t n,
                              int64_t pause_ms)
{
    static const struct outbox_outcome unavailable = {.size = sizeof unavailable,
                                                      .verdict = OUTBOX_UNAVAILABLE};
    w->relay->publishers[publisher].common->awaited = true;
    for (size_t i = 0; i < n; i++)
        settle_queue_outcome(w, index[i], publisher, &unavailable, pause_ms);
    return settle_part(w);
}

/* ---- after a relay died: see policy/poison.h ---- */

/* Commits which messages are in flight next, as many of the chunk as may be. False: it failed, so
 * they must not be sent. */
static bool record_in_flight(struct worker *w, struct chunk *chunk)
{
    struct poison *poison = &w->relay->lineage->poison;
    struct outbox_err err = {.size = sizeof err};
    chunk->n = poison_record(poison, w->slot->batch.msgs, chunk->n);
    if (chunk->n > 0 && heartbeat_record(w->relay, &err) == OUTBOX_OK) {
        w->record_failures = 0;
        return true;
    }
    poison_clear(poison, false);
    log_event(w->relay->log, w->record_failures++ == 0 ? OUTBOX_LOG_WARNING : OUTBOX_LOG_DEBUG,
              "cannot record which messages are sent next; trying again", "error", err.text, NULL);
    return false;
}

/* Written again at once: a death from now on is not these messages' fault. */
static void clear_in_flight(struct worker *w, bool survived)
{
    struct outbox_err err = {.size = sizeof err};
    poison_clear(&w->relay->lineage->poison, survived);
    if (heartbeat_record(w->relay, &err) < 0)
        log_event(w->relay->log, OUTBOX_LOG_DEBUG, "cannot write this relay's row", "error",
                  err.text, NULL);
}

/* ---- chunks ---- */

/* The first chunk has all of batch_timeout, later ones what is left of it; none has more than the
 * batch has, or those that wait in other slots: they, too, have to be settled in their time. False:
 * there is no time left, or no right to publish. */
static bool may_publish(struct worker *w, struct chunk *chunk, int64_t deadline_us)
{
    int64_t now = clock_monotonic_us();
    int64_t until_us = outstanding_deadline_us(w);
    if (w->slot->batch.deadline_us < until_us)
        until_us = w->slot->batch.deadline_us;
    int64_t batch_left_ms = (until_us - now) / 1000;
    if (!chunk->whole_time)
        chunk->timeout_ms = (deadline_us - now) / 1000;
    if (batch_left_ms < chunk->timeout_ms) {
        chunk->timeout_ms = batch_left_ms;
        chunk->whole_time = false;
        w->slot->batch.hurried = true;
    }
    if (w->relay->stopping || chunk->timeout_ms <= 0 || settle_health_is_paused(w->relay))
        return false;
    if (lease_is_valid(&w->slot->batch.lease))
        return true;
    log_event(w->relay->log, OUTBOX_LOG_WARNING,
              "the claim ran out before publishing; another relay may have these messages", NULL);
    return false;
}

/*
 * Each chunk is settled before the next is sent, so that a death loses the outcomes of one chunk
 * only. The first chunk's time counts from here, and recording one may take long: whether there is
 * time left, and whether the messages are still ours, is looked at last, right before they go.
 * After a death each chunk is recorded; if the store cannot settle a part of a batch the batch ends
 * with its first chunk then, lest the next one kills us and this one is sent again.
 */
static enum batch_state deliver_chunks(struct worker *w, size_t publisher, size_t n, size_t limit)
{
    struct batch *batch = &w->slot->batch;
    struct publisher_state *to = &w->relay->publishers[publisher];
    const struct delivery *terms = &to->config->delivery;
    int64_t deadline_us = clock_monotonic_us() + terms->batch_timeout_ms * 1000;
    struct chunk chunk;
    for (size_t done = 0; done < n; done += chunk.n) {
        chunk = (struct chunk){.publisher = publisher,
                               .index = batch->index + done,
                               .n = least(least(n - done, terms->batch_size), limit),
                               .timeout_ms = terms->batch_timeout_ms,
                               .whole_time = done == 0};
        for (size_t i = 0; i < chunk.n; i++)
            batch->msgs[i] = batch->claimed->messages[chunk.index[i]];
        bool recorded = poison_is_suspected(&w->relay->lineage->poison);
        if (recorded && !record_in_flight(w, &chunk)) {
            suspension_unknown(&to->common->breaker.suspension);
            return BATCH_UNRECORDED;
        }
        if (!may_publish(w, &chunk, deadline_us)) {
            if (recorded)
                clear_in_flight(w, false);
            suspension_unknown(&to->common->breaker.suspension);
            batch->cut_short |= chunk.timeout_ms <= 0;
            return BATCH_OPEN;
        }
        publish(w, &chunk);
        int64_t pause_ms = publisher_health_report(w, &chunk);
        batch->cut_short |= !queue_outcomes(w, &chunk, pause_ms);
        enum batch_state state = settle_part(w);
        if (recorded)
            clear_in_flight(w, true);
        if (state != BATCH_OPEN || (recorded && !settle_is_partial(w)))
            return state != BATCH_OPEN ? state : BATCH_CLOSED;
        if (chunk.result == OUTBOX_E_FULL)
            return BATCH_OPEN;
        if (pause_ms > 0)
            return defer(w, publisher, chunk.index + chunk.n, n - done - chunk.n, pause_ms);
        limit = to->common->breaker.slow_start;
    }
    return BATCH_OPEN;
}

/* ---- what does not wait for its outcomes ---- */

static int64_t suspended_for_ms(struct publisher_state *to)
{
    struct suspension_view view = suspension_snapshot(&to->common->breaker.suspension);
    int64_t ms = (view.until_us - clock_monotonic_us()) / 1000 + 1;
    return !view.paused ? 0 : ms > 0 ? ms : 1;
}

/* It took none of a share for all of its time, and answered for no other message meanwhile. */
static void report_full(struct worker *w, size_t publisher, int64_t began_us)
{
    struct chunk chunk = {.publisher = publisher, .result = OUTBOX_E_TIMEOUT, .whole_time = true};
    chunk.err.size = sizeof chunk.err;
    outbox_fail(&chunk.err, chunk.result, "its queue was full for all of batch_timeout");
    if (w->relay->publishers[publisher].common->passed_us < began_us)
        publisher_health_report(w, &chunk);
}

/* Hands a share to an asynchronous publisher, which may be full for a while; meanwhile outcomes
 * come in, and may suspend it. */
static enum batch_state submit_share(struct worker *w, size_t publisher, size_t n)
{
    struct batch *batch = &w->slot->batch;
    struct publisher_state *to = &w->relay->publishers[publisher];
    const struct delivery *terms = &to->config->delivery;
    int64_t began_us = clock_monotonic_us();
    int64_t deadline_us = began_us + terms->batch_timeout_ms * 1000;
    bool first = true;
    struct chunk chunk;
    for (size_t done = 0; done < n; done += chunk.n) {
        chunk = (struct chunk){.publisher = publisher,
                               .index = batch->index + done,
                               .n = least(n - done, terms->batch_size),
                               .timeout_ms = terms->batch_timeout_ms,
                               .whole_time = first};
        first = false;
        int64_t pause_ms = suspended_for_ms(to);
        if (pause_ms > 0)
            return defer(w, publisher, chunk.index, n - done, pause_ms);
        if (!may_publish(w, &chunk, deadline_us)) {
            batch->cut_short |= chunk.timeout_ms <= 0;
            if (done == 0 && clock_monotonic_us() >= deadline_us)
                report_full(w, publisher, began_us);
            return BATCH_OPEN;
        }
        pause_ms = outstanding_submit(w, &chunk);
        if (chunk.result == OUTBOX_E_FULL)
            return BATCH_OPEN;
        if (pause_ms > 0)
            return defer(w, publisher, chunk.index + chunk.n, n - done - chunk.n, pause_ms);
        if (batch->state != BATCH_OPEN)
            return batch->state;
    }
    return BATCH_OPEN;
}

/* ---- a share ---- */

/* A probe sends another message than the one that failed last, if there is another. */
static void choose_probe(struct batch *batch, size_t n, uint64_t avoid_id)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t other = batch->index[i];
        if (breaker_id(batch->claimed->messages[other]->row_id) == avoid_id)
            continue;
        batch->index[i] = batch->index[0];
        batch->index[0] = other;
        return;
    }
}

enum batch_state deliver_share(struct worker *w, size_t publisher)
{
    struct batch *batch = &w->slot->batch;
    struct publisher_state *to = &w->relay->publishers[publisher];
    size_t n = 0;
    for (uint32_t i = 0; i < batch->claimed->n; i++)
        if (batch->publisher[i] == publisher)
            batch->index[n++] = i;
    if (n == 0 || w->relay->stopping)
        return BATCH_OPEN;
    struct breaker_pass pass = breaker_enter(&to->common->breaker);
    if (pass.probe) {
        int64_t ms = to->config->delivery.batch_timeout_ms;
        int r = publisher_health_check(w, publisher, ms < PROBE_CHECK_MS ? ms : PROBE_CHECK_MS,
                                       &pass.wait_ms);
        if (r == OUTBOX_E_CANCELLED || r == OUTBOX_E_FULL)
            return BATCH_OPEN;
        choose_probe(batch, n, pass.avoid_id);
    }
    if (pass.wait_ms > 0)
        return defer(w, publisher, batch->index, n, pass.wait_ms);
    if (!publisher_is_async(w->publishers[publisher]))
        return deliver_chunks(w, publisher, n, pass.limit);
    if (!pass.probe && pass.limit >= n && !poison_is_suspected(&w->relay->lineage->poison))
        return submit_share(w, publisher, n);
    outstanding_await(w, publisher); /* tried, or recorded, chunk by chunk */
    if (batch->state != BATCH_OPEN)
        return batch->state;
    return deliver_chunks(w, publisher, n, pass.limit);
}
