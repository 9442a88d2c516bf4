/* SPDX-License-Identifier: Apache-2.0 */
/* deliver.c - one publisher's share of a batch: published in chunks, each settled at once. */
#include "relay_parts.h"

#include "clock.h"
#include "text.h"
#include "verdict.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <string.h>

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

static int reopen(struct worker *w, size_t publisher, struct outbox_err *err)
{
    const struct publisher_config *p = configured(w, publisher);
    struct host *host = &w->publishers[publisher];
    char label[80];
    snprintf(label, sizeof label, "publisher %s", p->name);
    host_close(host);
    return host_open(host, p->plugin, p->options, label, w->relay->log, err);
}

static void publish(struct worker *w, struct chunk *chunk)
{
    struct desk *desk = &w->desk;
    struct host *host = &w->publishers[chunk->publisher];
    for (size_t i = 0; i < chunk->n; i++) {
        desk->msgs[i] = desk->batch->messages[chunk->index[i]];
        desk->outcomes[i] = (struct outbox_outcome){.size = sizeof(struct outbox_outcome)};
    }
    struct outbox_call call = store_call(chunk->timeout_ms, w->relay->stop_fd);
    call.grace_ms = (uint32_t)(w->relay->config->shutdown_timeout_ms / 4 * 3);
    chunk->err = (struct outbox_err){.size = sizeof chunk->err};
    if (!host->instance && (chunk->result = reopen(w, chunk->publisher, &chunk->err)) < 0)
        return;
    chunk->result = host->plugin->ops.publisher.publish(host->instance, desk->msgs, chunk->n, &call,
                                                        desk->outcome_ptrs, &chunk->err);
}

/* The first reason that speaks of the publisher as a whole goes to *ret. */
static enum health diagnose(const struct worker *w, const struct chunk *chunk,
                            struct outbox_str *ret, int64_t *ret_after_ms)
{
    const struct desk *desk = &w->desk;
    size_t known = 0;
    *ret_after_ms = 0;
    *ret = outbox_cstr(chunk->err.text);
    for (size_t i = 0; i < chunk->n; i++) {
        const struct outbox_outcome *outcome = &desk->outcomes[i];
        if (outcome->verdict == OUTBOX_UNAVAILABLE) {
            if (outcome->reason.p)
                *ret = outcome->reason;
            *ret_after_ms = outcome->after_ms;
            return HEALTH_FAILED;
        }
        known += outcome->verdict != OUTBOX_UNSET;
    }
    if (relay_stopping(w->relay) || chunk->result == OUTBOX_E_CANCELLED)
        return known > 0 ? HEALTH_PASSED : HEALTH_UNKNOWN;
    if (chunk->result < 0 && chunk->result != OUTBOX_E_TIMEOUT)
        return HEALTH_FAILED;
    if (known > 0)
        return HEALTH_PASSED;
    if (!chunk->whole_time)
        return HEALTH_UNKNOWN;
    if (ret->n == 0)
        *ret = outbox_cstr("it said nothing about any message within batch_timeout");
    return HEALTH_FAILED;
}

/* Tells the others how the publisher is, and the operator when that changed. */
static int64_t report_health(struct worker *w, const struct chunk *chunk)
{
    struct publisher_state *state = &w->relay->publishers[chunk->publisher];
    const char *name = configured(w, chunk->publisher)->name;
    struct outbox_str reason;
    int64_t after_ms, pause_ms = 0;
    switch (diagnose(w, chunk, &reason, &after_ms)) {
    case HEALTH_PASSED:
        if (pause_passed(&state->pause))
            log_event(w->relay->log, OUTBOX_LOG_INFO, "publisher is back", "publisher", name, NULL);
        break;
    case HEALTH_FAILED:
        if (reason.n == 0)
            reason = outbox_cstr("it gave no reason");
        if (pause_failed(&state->pause, after_ms, reason.p, (size_t)reason.n, &pause_ms))
            log_event(w->relay->log, OUTBOX_LOG_WARNING,
                      "publisher is unavailable; its messages wait, uncharged", "publisher", name,
                      "reason", pause_look(&state->pause).reason, NULL);
        break;
    case HEALTH_UNKNOWN:
        pause_unknown(&state->pause);
        break;
    }
    return pause_ms;
}

static void count(struct worker *w, const struct chunk *chunk, const struct outbox_message *msg,
                  const struct outbox_outcome *outcome, const struct outbox_settle *item)
{
    struct publisher_state *state = &w->relay->publishers[chunk->publisher];
    bool failed = item->verdict == OUTBOX_SETTLE_FAILED;
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
    text_clean(msg->row_id.p, (size_t)msg->row_id.n, id, sizeof id);
    text_clean(msg->topic.p, (size_t)msg->topic.n, topic, sizeof topic);
    text_clean(item->reason.p, (size_t)item->reason.n, reason, sizeof reason);
    log_event(w->relay->log, level, failed ? "message failed" : "message will be tried again", "id",
              id, "topic", topic, "publisher", configured(w, chunk->publisher)->name, "retries",
              LOG_NUM((int64_t)msg->retries + ((item->flags & OUTBOX_SETTLE_CHARGE) != 0)),
              "reason", reason, NULL);
}

static void defer_until(struct relay *relay, int64_t ms)
{
    int64_t until = clock_monotonic_us() + ms * 1000;
    int64_t known = relay->deferred_until_us;
    while (until > known && !atomic_compare_exchange_weak(&relay->deferred_until_us, &known, until))
        ;
}

static void queue_outcomes(struct worker *w, const struct chunk *chunk, int64_t pause_ms)
{
    const struct config *config = w->relay->config;
    struct desk *desk = &w->desk;
    struct verdict_terms terms = {
        .delivery = &configured(w, chunk->publisher)->delivery,
        .delete_done = config->retention_ms == 0,
        .pause_ms = pause_ms,
        .store_delays = (w->store.capabilities & OUTBOX_STORE_DELAY) != 0,
    };
    for (size_t i = 0; i < chunk->n; i++) {
        const struct outbox_outcome *outcome = &desk->outcomes[i];
        struct outbox_settle settle;
        if (!verdict_settle(&terms, desk->msgs[i], outcome, &settle)) {
            w->cut_short |= !chunk->whole_time || chunk->result == OUTBOX_E_TIMEOUT;
            continue;
        }
        settle.index = chunk->index[i];
        *desk_item(desk, chunk->index[i]) = settle;
        count(w, chunk, desk->msgs[i], outcome, &settle);
    }
    if (pause_ms > 0)
        defer_until(w->relay, pause_ms);
}

/* A paused publisher's messages are put off rather than claimed again and again. */
static void put_off(struct worker *w, const uint32_t *index, size_t n, int64_t ms)
{
    if (!(w->store.capabilities & OUTBOX_STORE_DELAY))
        return;
    for (size_t i = 0; i < n; i++) {
        struct outbox_settle *item = desk_item(&w->desk, index[i]);
        item->verdict = OUTBOX_SETTLE_RETRY;
        item->delay_ms = ms;
    }
    defer_until(w->relay, ms);
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

void worker_deliver(struct worker *w, size_t publisher)
{
    struct desk *desk = &w->desk;
    const struct delivery *terms = &configured(w, publisher)->delivery;
    size_t n = 0;
    for (uint32_t i = 0; i < desk->batch->n; i++)
        if (desk->publisher[i] == publisher)
            desk->index[n++] = i;
    if (n == 0 || w->lost || relay_stopping(w->relay))
        return;
    int64_t wait = pause_enter(&w->relay->publishers[publisher].pause);
    if (wait > 0) {
        put_off(w, desk->index, n, wait);
        return;
    }
    int64_t deadline = clock_monotonic_us() + terms->batch_timeout_ms * 1000;
    bool whole_time = deadline <= w->deadline_us;
    int64_t pause_ms = 0;
    if (!whole_time)
        deadline = w->deadline_us;
    for (size_t done = 0; done < n && pause_ms == 0 && !w->lost;) {
        int64_t left =
            whole_time ? terms->batch_timeout_ms : (deadline - clock_monotonic_us()) / 1000;
        if (relay_stopping(w->relay) || left <= 0 || !claim_is_held(w)) {
            w->cut_short |= left <= 0;
            pause_unknown(&w->relay->publishers[publisher].pause);
            return;
        }
        struct chunk chunk = {.publisher = publisher,
                              .index = desk->index + done,
                              .n = n - done < terms->batch_size ? n - done : terms->batch_size,
                              .timeout_ms = left,
                              .whole_time = whole_time};
        publish(w, &chunk);
        pause_ms = report_health(w, &chunk);
        queue_outcomes(w, &chunk, pause_ms);
        worker_settle_part(w);
        if (chunk.result == OUTBOX_E_BROKEN)
            host_close(&w->publishers[publisher]); /* opened again when next needed */
        done += chunk.n;
        whole_time = false;
        if (pause_ms > 0 && done < n)
            put_off(w, desk->index + done, n - done, pause_ms);
    }
}

int64_t worker_tend(struct worker *w)
{
    int64_t again_us = INT64_MAX;
    for (size_t i = 0; i < w->relay->config->n_publishers; i++) {
        struct host *host = &w->publishers[i];
        const struct outbox_publisher_ops *ops = &host->plugin->ops.publisher;
        struct outbox_tending tending = {.size = sizeof tending};
        struct outbox_err err = {.size = sizeof err};
        if (!host->instance || !ops->tend || !ops->capabilities ||
            !(ops->capabilities(host->instance) & OUTBOX_PUB_TENDS))
            continue;
        if (ops->tend(host->instance, &tending, &err) == OUTBOX_E_BROKEN)
            host_close(host);
        else if (tending.again_ms > 0) {
            int64_t again = clock_monotonic_us() + (int64_t)tending.again_ms * 1000;
            again_us = again < again_us ? again : again_us;
        }
    }
    return again_us;
}
