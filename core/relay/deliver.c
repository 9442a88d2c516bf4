/* SPDX-License-Identifier: Apache-2.0 */
/* deliver.c - one publisher's share of a batch: published in chunks, each settled at once. */
#include "relay/context.h"

#include "base/clock.h"
#include "common/failpoint.h"
#include "common/utf8.h"
#include "policy/outcome.h"

#include <outbox/helpers.h>

/* A publisher that does not answer whether it is in order is not asked for long. */
#define CHECK_MS 5000

/* What a publish call said about the publisher as a whole. */
enum health { HEALTH_UNKNOWN, HEALTH_PASSED, HEALTH_FAILED };

struct chunk {
    size_t publisher;
    const uint32_t *index; /* into the batch */
    size_t n;
    int64_t timeout_ms;
    bool whole_time; /* it had all of batch_timeout */
    int result;      /* of the call */
    struct outbox_err err;
};

static const struct publisher_config *configured(const struct worker *w, size_t publisher)
{
    return &w->relay->config->publishers[publisher];
}

static void publish(struct worker *w, struct chunk *chunk)
{
    struct batch *desk = &w->desk;
    struct instance *instance = &w->publishers[chunk->publisher];
    for (size_t i = 0; i < chunk->n; i++)
        desk->outcomes[i] = (struct outbox_outcome){.size = sizeof(struct outbox_outcome)};
    struct outbox_call call = store_call(chunk->timeout_ms, w->relay->stop_fd);
    call.grace_ms = (uint32_t)(w->relay->config->shutdown_timeout_ms / 4 * 3);
    chunk->err = (struct outbox_err){.size = sizeof chunk->err};
    if ((chunk->result = publisher_open(w, chunk->publisher, &chunk->err)) < 0)
        return;
    chunk->result = instance->plugin->ops.publisher.publish(instance->self, desk->msgs, chunk->n,
                                                            &call, desk->outcome_ptrs, &chunk->err);
    failpoint("after_confirm");
}

/* Whose answer says that the publisher as a whole is out of order: its place, or n. */
static size_t find_culprit(const struct worker *w, const struct chunk *chunk)
{
    size_t i = 0;
    while (i < chunk->n && w->desk.outcomes[i].verdict != OUTBOX_UNAVAILABLE)
        i++;
    return i;
}

/* What is known when nobody said that it is out of order. */
static enum health diagnose(const struct worker *w, const struct chunk *chunk)
{
    size_t known = 0;
    for (size_t i = 0; i < chunk->n; i++)
        known += w->desk.outcomes[i].verdict != OUTBOX_UNSET;
    if (relay_stopping(w->relay) || chunk->result == OUTBOX_E_CANCELLED)
        return known > 0 ? HEALTH_PASSED : HEALTH_UNKNOWN;
    if (chunk->result < 0 && chunk->result != OUTBOX_E_TIMEOUT)
        return HEALTH_FAILED;
    if (known > 0)
        return HEALTH_PASSED;
    return chunk->whole_time ? HEALTH_FAILED : HEALTH_UNKNOWN;
}

/* A message that keeps its publisher unavailable while others get through is itself to blame. */
static bool blame(struct worker *w, struct chunk *chunk, size_t culprit)
{
    struct breaker *breaker = &w->relay->publishers[chunk->publisher].breaker;
    uint64_t id = breaker_id(w->desk.msgs[culprit]->row_id);
    if (!breaker_blames(breaker, id))
        return false;
    breaker_charged(breaker, id);
    w->desk.outcomes[culprit].verdict = OUTBOX_RETRY;
    for (size_t i = culprit + 1; i < chunk->n; i++) /* nobody else is */
        if (w->desk.outcomes[i].verdict == OUTBOX_UNAVAILABLE)
            w->desk.outcomes[i].verdict = OUTBOX_UNSET;
    return true;
}

static void tell_accepted(struct worker *w, const struct chunk *chunk)
{
    struct breaker *breaker = &w->relay->publishers[chunk->publisher].breaker;
    for (size_t i = 0; breaker_has_suspects(breaker) && i < chunk->n; i++)
        if (w->desk.outcomes[i].verdict == OUTBOX_ACCEPTED)
            breaker_accepted(breaker, breaker_id(w->desk.msgs[i]->row_id));
}

/* Tells the others how the publisher is; how long it is left alone, ms, or 0. */
static int64_t report_health(struct worker *w, struct chunk *chunk)
{
    size_t publisher = chunk->publisher, culprit = find_culprit(w, chunk);
    const struct outbox_outcome *said = culprit < chunk->n ? &w->desk.outcomes[culprit] : NULL;
    struct outbox_str reason = outbox_cstr(chunk->err.text);
    tell_accepted(w, chunk);
    if (said && !blame(w, chunk, culprit))
        return publisher_failed(w, publisher, breaker_id(w->desk.msgs[culprit]->row_id),
                                said->after_ms, said->reason.p ? said->reason : reason);
    switch (said ? HEALTH_PASSED : diagnose(w, chunk)) {
    case HEALTH_PASSED:
        publisher_passed(w, publisher);
        return 0;
    case HEALTH_FAILED:
        if (reason.n == 0 && chunk->result == OUTBOX_OK)
            reason = outbox_cstr("it said nothing about any message within batch_timeout");
        return publisher_failed(w, publisher, 0, 0, reason);
    default:
        breaker_unknown(&w->relay->publishers[publisher].breaker);
        return 0;
    }
}

static void count(struct worker *w, size_t publisher, const struct outbox_message *msg,
                  const struct outbox_outcome *outcome, const struct outbox_settle *item)
{
    struct publisher_state *state = &w->relay->publishers[publisher];
    bool failed = item->action == OUTBOX_SETTLE_FAILED;
    if (outcome->verdict == OUTBOX_ACCEPTED)
        state->accepted++;
    else if (failed)
        state->failed++;
    else if (outcome->verdict == OUTBOX_RETRY)
        state->retried++;
    int level = failed ? OUTBOX_LOG_WARNING : OUTBOX_LOG_DEBUG;
    if (outcome->verdict == OUTBOX_ACCEPTED || !log_enabled(w->relay->log, level))
        return;
    char id[64], topic[128], reason[512];
    utf8_clean(msg->row_id.p, (size_t)msg->row_id.n, id, sizeof id);
    utf8_clean(msg->topic.p, (size_t)msg->topic.n, topic, sizeof topic);
    utf8_clean(item->reason.p, (size_t)item->reason.n, reason, sizeof reason);
    log_event(w->relay->log, level, failed ? "message failed" : "message will be tried again", "id",
              id, "topic", topic, "publisher", configured(w, publisher)->name, "retries",
              LOG_NUM((int64_t)msg->retries + ((item->flags & OUTBOX_SETTLE_CHARGE) != 0)),
              "reason", reason, NULL);
}

static struct outcome_terms terms_of(const struct worker *w, size_t publisher, int64_t pause_ms)
{
    return (struct outcome_terms){
        .delivery = &configured(w, publisher)->delivery,
        .delete_done = w->relay->config->retention_ms == 0,
        .pause_ms = pause_ms,
        .store_delays = (w->store.capabilities & OUTBOX_STORE_DELAY) != 0,
    };
}

static void queue_outcomes(struct worker *w, const struct chunk *chunk, int64_t pause_ms)
{
    struct batch *desk = &w->desk;
    struct outcome_terms terms = terms_of(w, chunk->publisher, pause_ms);
    for (size_t i = 0; i < chunk->n; i++) {
        const struct outbox_outcome *outcome = &desk->outcomes[i];
        struct outbox_settle settle;
        if (!outcome_settle(&terms, desk->msgs[i], outcome, &settle)) {
            w->cut_short |= !chunk->whole_time || chunk->result == OUTBOX_E_TIMEOUT;
            continue;
        }
        settle.index = chunk->index[i];
        *batch_item(desk, chunk->index[i]) = settle;
        count(w, chunk->publisher, desk->msgs[i], outcome, &settle);
    }
    w->put_off_ms = pause_ms > w->put_off_ms ? pause_ms : w->put_off_ms;
}

static bool settles_in_parts(const struct worker *w)
{
    return (w->store.capabilities & OUTBOX_STORE_PARTIAL) != 0;
}

void worker_charge(struct worker *w, uint32_t index)
{
    struct batch *desk = &w->desk;
    const struct outbox_message *msg = desk->batch->messages[index];
    size_t publisher = desk->publisher[index];
    struct outcome_terms terms = terms_of(w, publisher, 0);
    const struct outbox_outcome outcome = {
        .size = sizeof outcome,
        .verdict = OUTBOX_RETRY,
        .reason = outbox_cstr("the relay died while this message alone was being published")};
    struct outbox_settle settle;
    outcome_settle(&terms, msg, &outcome, &settle);
    settle.index = index;
    *batch_item(desk, index) = settle;
    count(w, publisher, msg, &outcome, &settle);
    desk->publisher[index] = ROUTE_NONE;
    w->ends |= !settles_in_parts(w);
}

/* A paused publisher's messages are put off rather than claimed again and again. */
static void put_off(struct worker *w, const uint32_t *index, size_t n, int64_t ms)
{
    if (!(w->store.capabilities & OUTBOX_STORE_DELAY))
        return;
    for (size_t i = 0; i < n; i++) {
        struct outbox_settle *item = batch_item(&w->desk, index[i]);
        item->action = OUTBOX_SETTLE_RETRY;
        item->delay_ms = ms;
    }
    w->put_off_ms = ms > w->put_off_ms ? ms : w->put_off_ms;
    worker_settle_part(w);
}

static bool claim_is_held(struct worker *w)
{
    pthread_mutex_lock(&w->hold.lock);
    bool held = w->hold.lease_n == 0 || clock_monotonic_us() < w->hold.until_us;
    pthread_mutex_unlock(&w->hold.lock);
    if (!held)
        log_event(w->relay->log, OUTBOX_LOG_WARNING,
                  "the claim ran out before publishing; another relay may have these messages",
                  NULL);
    return held;
}

/* A publisher that was out of order is asked first; then one message goes, another than the last.
 */
static int64_t probe(struct worker *w, size_t publisher, const struct breaker_pass *pass, size_t n)
{
    struct batch *desk = &w->desk;
    struct outbox_err err = {.size = sizeof err};
    int64_t ms = configured(w, publisher)->delivery.batch_timeout_ms;
    int r = publisher_check(w, publisher, ms < CHECK_MS ? ms : CHECK_MS, &err);
    if (r < 0 && r != OUTBOX_E_CANCELLED)
        return publisher_failed(w, publisher, 0, 0, outbox_cstr(err.text));
    for (size_t i = 0; i < n; i++) {
        uint32_t other = desk->index[i];
        if (breaker_id(desk->batch->messages[other]->row_id) == pass->not_this)
            continue;
        desk->index[i] = desk->index[0];
        desk->index[0] = other;
        break;
    }
    return 0;
}

static void record(struct worker *w)
{
    struct outbox_err err = {.size = sizeof err};
    if (heartbeat_record(w->relay, &err) < 0)
        log_event(w->relay->log, OUTBOX_LOG_DEBUG, "cannot write this relay's row", "error",
                  err.text, NULL);
}

/*
 * On probation: a part of the chunk, noted down before it goes. False: it must not go, because it
 * could not be noted down, or because its turn came too late.
 */
static bool note_down(struct worker *w, struct chunk *chunk)
{
    struct poison *probation = &w->relay->probation;
    struct outbox_err err = {.size = sizeof err};
    chunk->n = poison_chunk_limit(probation, w->desk.msgs, chunk->n);
    int r = poison_record(probation, w->desk.msgs, chunk->n);
    if (r == 0)
        r = heartbeat_record(w->relay, &err);
    if (r < 0) {
        log_event(w->relay->log, w->unnoted++ == 0 ? OUTBOX_LOG_WARNING : OUTBOX_LOG_DEBUG,
                  "cannot note down what is about to be sent; trying again", "error", err.text,
                  NULL);
        poison_withdraw(probation);
        return false;
    }
    w->unnoted = 0;
    int64_t left = (w->deadline_us - clock_monotonic_us()) / 1000;
    if (left < chunk->timeout_ms) {
        chunk->timeout_ms = left;
        chunk->whole_time = false;
        w->cut_short = true;
    }
    if (left > 0 && !relay_stopping(w->relay) && claim_is_held(w))
        return true;
    poison_withdraw(probation);
    record(w);
    return false;
}

static void has_survived(struct worker *w)
{
    /* What arrived is not sent again because the next chunk kills us. */
    w->ends = !settles_in_parts(w);
    poison_clear(&w->relay->probation);
    record(w);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* In chunks, each within what is left of the time. */
static void deliver_all(struct worker *w, size_t publisher, size_t n, size_t limit)
{
    struct batch *desk = &w->desk;
    struct breaker *breaker = &w->relay->publishers[publisher].breaker;
    const struct delivery *terms = &configured(w, publisher)->delivery;
    int64_t deadline = clock_monotonic_us() + terms->batch_timeout_ms * 1000;
    bool whole_time = deadline <= w->deadline_us;
    int64_t pause_ms = 0;
    if (!whole_time)
        deadline = w->deadline_us;
    for (size_t done = 0; done < n && pause_ms == 0 && !w->lost && !w->ends;) {
        int64_t left =
            whole_time ? terms->batch_timeout_ms : (deadline - clock_monotonic_us()) / 1000;
        if (relay_stopping(w->relay) || left <= 0 || !claim_is_held(w)) {
            w->cut_short |= left <= 0;
            breaker_unknown(breaker);
            return;
        }
        struct chunk chunk = {.publisher = publisher,
                              .index = desk->index + done,
                              .n = least(least(n - done, terms->batch_size), limit),
                              .timeout_ms = left,
                              .whole_time = whole_time};
        bool probation = poison_is_suspected(&w->relay->probation);
        for (size_t i = 0; i < chunk.n; i++)
            desk->msgs[i] = desk->batch->messages[chunk.index[i]];
        if (probation && !note_down(w, &chunk)) {
            breaker_unknown(breaker);
            return;
        }
        publish(w, &chunk);
        pause_ms = report_health(w, &chunk);
        queue_outcomes(w, &chunk, pause_ms);
        worker_settle_part(w);
        if (probation)
            has_survived(w);
        if (chunk.result == OUTBOX_E_BROKEN)
            instance_close(&w->publishers[publisher]); /* opened again when next needed */
        done += chunk.n;
        whole_time = false;
        limit = breaker_limit(breaker);
        if (pause_ms > 0 && done < n)
            put_off(w, desk->index + done, n - done, pause_ms);
    }
}

void worker_deliver(struct worker *w, size_t publisher)
{
    struct batch *desk = &w->desk;
    size_t n = 0;
    for (uint32_t i = 0; i < desk->batch->n; i++)
        if (desk->publisher[i] == publisher)
            desk->index[n++] = i;
    if (n == 0 || w->lost || w->ends || relay_stopping(w->relay))
        return;
    struct breaker_pass pass = breaker_enter(&w->relay->publishers[publisher].breaker);
    if (pass.probe)
        pass.wait_ms = probe(w, publisher, &pass, n);
    if (pass.wait_ms > 0)
        put_off(w, desk->index, n, pass.wait_ms);
    else
        deliver_all(w, publisher, n, pass.limit);
}
