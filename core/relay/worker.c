/* SPDX-License-Identifier: Apache-2.0 */
/* worker.c - claim, route, publish, settle. */
#include "relay/context.h"

#include "base/clock.h"
#include "common/backoff.h"
#include "common/failpoint.h"
#include "common/utf8.h"

#include <outbox/helpers.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REASONS_KEEP 4096
#define NOTE_AGAIN_MIN_MS 100
#define NOTE_AGAIN_MAX_MS 2000

void worker_init(struct worker *w, struct relay *relay)
{
    memset(w, 0, sizeof *w);
    w->relay = relay;
    w->limit = relay->config->delivery.batch_size;
    w->desk.reasons = (struct arena)ARENA_INIT(REASONS_KEEP);
    pthread_mutex_init(&w->hold.lock, NULL);
}

int worker_open(struct worker *w, struct outbox_err *err)
{
    const struct config *config = w->relay->config;
    struct log *log = w->relay->log;
    int r = store_open(&w->store, config->store_plugin, config->store_options, log, err);
    if (r == 0)
        r = router_open(&config->routes, log, &w->router, err);
    if (r == 0 && batch_reserve(&w->desk, config->delivery.batch_size) < 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory for a batch");
    if (r == 0 && !(w->publishers = calloc(config->n_publishers + 1, sizeof *w->publishers)))
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory while opening the publishers");
    for (size_t i = 0; r == 0 && i < config->n_publishers; i++) {
        const struct publisher_config *p = &config->publishers[i];
        char label[80];
        snprintf(label, sizeof label, "publisher %s", p->name);
        r = instance_open(&w->publishers[i], p->plugin, p->options, label, log, err);
    }
    return r;
}

static void close_publishers(struct worker *w)
{
    for (size_t i = 0; w->publishers && i < w->relay->config->n_publishers; i++)
        instance_close(&w->publishers[i]);
}

void worker_close(struct worker *w)
{
    close_publishers(w);
    free(w->publishers);
    router_close(w->router);
    store_close(&w->store);
    batch_free(&w->desk);
    pthread_mutex_destroy(&w->hold.lock);
}

/* ---- claim ---- */

static void hold_claim(struct worker *w, struct outbox_str lease, int64_t until_us)
{
    pthread_mutex_lock(&w->hold.lock);
    w->hold.lease_n = 0;
    if (lease.p && lease.n <= sizeof w->hold.lease) {
        memcpy(w->hold.lease, lease.p, (size_t)lease.n);
        w->hold.lease_n = (size_t)lease.n;
    }
    w->hold.until_us = until_us;
    pthread_mutex_unlock(&w->hold.lock);
}

static void store_trouble(struct worker *w, const struct outbox_err *err)
{
    int64_t pause_ms;
    if (err->code == OUTBOX_E_CANCELLED && relay_stopping(w->relay)) {
        suspension_unknown(&w->relay->store_pause);
        return;
    }
    if (suspension_failed(&w->relay->store_pause, 0, err->text, strlen(err->text), &pause_ms))
        log_event(w->relay->log, OUTBOX_LOG_WARNING,
                  "the store is unavailable; trying again until it is there", "error", err->text,
                  NULL);
}

/* The batch, which may be empty, or NULL when the store cannot be asked before *ret_again_us. */
static struct outbox_batch *claim(struct worker *w, int64_t *ret_again_us)
{
    struct relay *relay = w->relay;
    const struct config *config = relay->config;
    struct outbox_err err = {.size = sizeof err};
    struct outbox_batch *batch = NULL;
    int64_t wait_ms = suspension_enter(&relay->store_pause, NULL);
    *ret_again_us = clock_monotonic_us() + wait_ms * 1000;
    if (wait_ms > 0)
        return NULL;
    struct outbox_claim claim = {
        .size = sizeof claim,
        .limit = w->limit,
        .lease_ms = (uint32_t)config->lease_ms,
        .max_bytes = config->batch_bytes,
        .max_message = config->max_message,
        .relay = outbox_cstr(relay->id),
        .hold_ms = relay->hold_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)relay->hold_ms,
    };
    struct outbox_call call = store_call(STORE_CALL_MS, relay->stop_fd);
    int r = predecessors_load(relay, &err);
    int64_t until_us = clock_monotonic_us() + config->lease_ms * 1000;
    w->deadline_us = clock_monotonic_us() + relay->hold_ms * 1000;
    if (r == 0)
        r = store_claim(&w->store, &claim, &call, &batch, &err);
    if (r < 0) {
        err.code = r;
        store_trouble(w, &err);
        *ret_again_us = suspension_snapshot(&relay->store_pause).until_us;
        if (r == OUTBOX_E_BROKEN) {
            store_close(&w->store);
            store_open(&w->store, config->store_plugin, config->store_options, relay->log, &err);
        }
        return NULL;
    }
    if (suspension_passed(&relay->store_pause))
        log_event(relay->log, OUTBOX_LOG_INFO, "the store is back", NULL);
    hold_claim(w, batch->lease, until_us);
    return batch;
}

static void release(struct worker *w)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call call = store_call(STORE_CALL_MS, -1);
    hold_claim(w, (struct outbox_str){NULL, 0}, 0);
    if (store_release(&w->store, w->desk.batch, &call, &err) < 0 && !w->lost)
        log_event(w->relay->log, OUTBOX_LOG_WARNING,
                  "cannot give back what is left of a batch; it is free when its claim ends",
                  "error", err.text, NULL);
    batch_clear(&w->desk);
}

/* ---- route ---- */

static void fail_at_once(struct worker *w, uint32_t i, struct outbox_str reason, uint32_t flags)
{
    struct outbox_settle *item = batch_item(&w->desk, i);
    const struct outbox_message *msg = w->desk.batch->messages[i];
    char id[64], text[512];
    item->action = OUTBOX_SETTLE_FAILED;
    item->flags = OUTBOX_SETTLE_REASON | flags;
    item->reason = reason;
    w->relay->refused++;
    utf8_clean(msg->row_id.p, (size_t)msg->row_id.n, id, sizeof id);
    utf8_clean(reason.p, (size_t)reason.n, text, sizeof text);
    log_event(w->relay->log, OUTBOX_LOG_WARNING, "message failed", "id", id, "reason", text, NULL);
}

/* Promise 7: what no route takes is kept; what could only not be routed now (`r`), all the more. */
static void keep_unrouted(struct worker *w, uint32_t i, int r, const struct outbox_err *err)
{
    const struct config *config = w->relay->config;
    struct outbox_str reason;
    char text[sizeof err->text + 16];
    bool later = r == OUTBOX_E_RETRY;
    snprintf(text, sizeof text, "%s%s", later ? "" : "unrouted: ", err->text);
    if (arena_str(&w->desk.reasons, text, strlen(text), &reason) < 0)
        reason = outbox_cstr("unrouted");
    if (config->unrouted_fail && !later) {
        fail_at_once(w, i, reason, OUTBOX_SETTLE_CHARGE);
        return;
    }
    if (!later)
        unrouted_gauge_count(&w->relay->held);
    if (!(w->store.capabilities & OUTBOX_STORE_DELAY))
        return;
    struct outbox_settle *item = batch_item(&w->desk, i);
    item->action = OUTBOX_SETTLE_RETRY;
    item->flags = OUTBOX_SETTLE_REASON;
    item->delay_ms = later ? config->delivery.retry_min_ms : UNROUTED_HOLD_MS;
    item->reason = reason;
}

static void route(struct worker *w)
{
    struct batch *desk = &w->desk;
    for (uint32_t i = 0; i < desk->batch->n; i++) {
        const struct outbox_message *msg = desk->batch->messages[i];
        const struct route *by;
        struct outbox_err err = {.size = sizeof err};
        int r;
        desk->publisher[i] = ROUTE_NONE;
        if (msg->defect.p)
            fail_at_once(w, i, msg->defect, 0);
        else if ((r = router_route(w->router, msg, NULL, NULL, &desk->publisher[i], &by, &err)) < 0)
            keep_unrouted(w, i, r, &err);
        else if (poison_pop_charge(&w->relay->probation, msg->row_id))
            worker_charge(w, i); /* durable before anything is sent that may kill us, too */
    }
}

/* ---- publish ---- */

static void publish(struct worker *w)
{
    size_t n = w->relay->config->n_publishers;
    w->cut_short = false;
    /* Whose share did not fit the time last time goes first now. */
    for (size_t k = 0, first = w->first_publisher; k < n; k++) {
        size_t publisher = (first + k) % n;
        bool before = w->cut_short;
        worker_deliver(w, publisher);
        if (w->cut_short && !before)
            w->first_publisher = publisher;
    }
}

/* A batch that does not fit its time is claimed for nothing: take less, then more again. */
static void adapt(struct worker *w)
{
    uint32_t most = w->relay->config->delivery.batch_size;
    if (w->cut_short)
        w->limit = w->limit > 1 ? w->limit / 2 : 1;
    else
        w->limit = w->limit > most / 2 ? most : w->limit * 2;
}

/* ---- wait ---- */

/* With every publisher out of order a claim would only be given back. */
static int64_t all_paused_until(struct relay *relay)
{
    int64_t first = INT64_MAX;
    for (size_t i = 0; i < relay->config->n_publishers; i++) {
        struct suspension_view view = suspension_snapshot(&relay->publishers[i].breaker.pause);
        if (!view.paused)
            return 0;
        first = view.until_us < first ? view.until_us : first;
    }
    return first;
}

/* Is a once-relay done? Only when nothing is due and nothing waits for somebody to come back. */
static bool drained(struct relay *relay, const struct outbox_batch *batch)
{
    bool waits = clock_monotonic_us() < relay->deferred_until_us + 100000;
    for (size_t i = 0; i < relay->config->n_publishers; i++)
        waits |= suspension_snapshot(&relay->publishers[i].breaker.pause).paused;
    return batch && !waits;
}

static bool given_up(struct relay *relay)
{
    bool up = relay_gives_up(relay, &relay->store_pause, "the store");
    for (size_t i = 0; i < relay->config->n_publishers; i++) {
        char what[80];
        snprintf(what, sizeof what, "publisher %s", relay->config->publishers[i].name);
        up |= relay_gives_up(relay, &relay->publishers[i].breaker.pause, what);
    }
    return up;
}

static void idle(struct worker *w, int64_t due_us)
{
    struct relay *relay = w->relay;
    int64_t now = clock_monotonic_us();
    int64_t poll_us = now + relay->config->poll_interval_ms * 1000;
    int64_t own_us = worker_tend(w);
    if (relay->mode.once && own_us > now + 100000)
        own_us = now + 100000; /* it ends soon after the last message, not at the next poll */
    wakeup_wait(&relay->bell, due_us < poll_us ? due_us : poll_us, own_us);
}

/* What could not be noted down was given back, and would be claimed again at once. */
static void back_off(struct worker *w)
{
    struct pollfd stop = {.fd = w->relay->stop_fd, .events = POLLIN};
    if (w->unnoted > 0)
        poll(&stop, 1,
             (int)backoff_ms(NOTE_AGAIN_MIN_MS, NOTE_AGAIN_MAX_MS, w->unnoted - 1, BACKOFF_UPPER));
}

/* One batch from claim to settle. False: there is nothing more to do. */
static bool turn(struct worker *w)
{
    struct relay *relay = w->relay;
    int64_t paused_us = all_paused_until(relay);
    if (paused_us > clock_monotonic_us()) {
        idle(w, paused_us);
        return !(relay->mode.once && given_up(relay));
    }
    int64_t again_us;
    struct outbox_batch *batch = claim(w, &again_us);
    if (!batch) {
        idle(w, again_us);
        return !(relay->mode.once && given_up(relay));
    }
    bool empty = batch->n == 0;
    int64_t due_us =
        batch->next_due_ms < 0 ? INT64_MAX : clock_monotonic_us() + batch->next_due_ms * 1000;
    if (batch->more)
        wakeup_signal(&relay->bell);
    if (batch_take(&w->desk, batch) == 0 && !empty) {
        failpoint("after_claim");
        w->ends = false;
        route(w);
        worker_settle_part(w);
        publish(w);
        worker_settle(w);
        adapt(w);
    }
    release(w);
    back_off(w);
    if (!empty)
        return !w->gave_up;
    if (relay->mode.once && (drained(relay, batch) || given_up(relay)))
        return false;
    idle(w, due_us);
    return true;
}

void *worker_main(void *arg)
{
    struct worker *w = arg;
    while (!relay_stopping(w->relay) && turn(w))
        w->lost = false;
    close_publishers(w); /* within the time for stopping, and each worker its own */
    relay_worker_ended(w->relay);
    return NULL;
}
