/* SPDX-License-Identifier: Apache-2.0 */
/* settle.c - outcomes become durable: tried until they are, because the messages were sent. */
#include "relay/context.h"

#include "base/clock.h"
#include "common/backoff.h"
#include "common/failpoint.h"

#include <outbox/helpers.h>

#include <poll.h>
#include <string.h>

#define SETTLE_RETRY_MIN_MS 50
#define SETTLE_RETRY_MAX_MS 2000
#define TRY_LEAST_MS 2000

static void count_stale(struct worker *w)
{
    struct batch *desk = &w->desk;
    uint64_t n = 0;
    for (size_t i = 0; i < desk->n_items; i++)
        n += desk->stale[i];
    if (n == 0)
        return;
    w->relay->stale += n;
    log_event(w->relay->log, OUTBOX_LOG_WARNING,
              "settled too late: the claim had been lost, so these messages may arrive twice",
              "messages", LOG_NUM((int64_t)n), NULL);
}

/* `run --once` has its own patience, though a try is always worth a moment: what is not settled was
 * sent for nothing. */
static int64_t try_ms(const struct relay *relay, int64_t patience_ms)
{
    int64_t left = relay_left_ms(relay, STORE_CALL_MS);
    patience_ms = patience_ms < TRY_LEAST_MS ? TRY_LEAST_MS : patience_ms;
    return patience_ms < left ? patience_ms : left;
}

static int64_t patience_left_ms(const struct relay *relay, int64_t began_us)
{
    int64_t left = relay_left_ms(relay, STORE_CALL_MS);
    int64_t patience = relay->mode.wait_ms - (clock_monotonic_us() - began_us) / 1000;
    return relay->mode.once && patience < left ? patience : left;
}

static void give_up(struct worker *w, const struct outbox_err *err)
{
    int64_t n = (int64_t)w->desk.n_items;
    if (w->lost)
        w->relay->stale += (uint64_t)n;
    else if (w->relay->mode.once) { /* it would send the same again */
        relay_remember_outage(w->relay, "the store did not take what was sent: %s", err->text);
        w->gave_up = w->ends = true;
    }
    log_event(w->relay->log, OUTBOX_LOG_ERROR,
              "gave up settling: these messages will be published again", "messages", LOG_NUM(n),
              "error", err->text, NULL);
}

/* What was put off is due by the time of its settle, however late that came. */
static void defer(struct worker *w)
{
    int64_t until = clock_monotonic_us() + w->put_off_ms * 1000;
    int64_t known = w->relay->deferred_until_us;
    while (w->put_off_ms > 0 && until > known &&
           !atomic_compare_exchange_weak(&w->relay->deferred_until_us, &known, until))
        ;
}

void worker_settle(struct worker *w)
{
    struct batch *desk = &w->desk;
    struct outbox_err err = {.size = sizeof err};
    if (desk->n_items == 0 || w->lost) {
        desk->n_items = desk->n_kept = 0;
        w->put_off_ms = 0;
        return;
    }
    int64_t began_us = clock_monotonic_us();
    for (uint32_t tries = 0;; tries++) {
        int64_t left = patience_left_ms(w->relay, began_us);
        struct outbox_call call = store_call(try_ms(w->relay, left), -1);
        memset(desk->stale, 0, desk->n_items);
        failpoint("before_settle");
        int r = store_settle(&w->store, desk->batch, desk->item_ptrs, desk->n_items, &call,
                             desk->stale, &err);
        if (r == OUTBOX_OK) {
            count_stale(w);
            defer(w);
            if (tries > 0)
                log_event(w->relay->log, OUTBOX_LOG_INFO, "settled after all", NULL);
            break;
        }
        if (tries == 0)
            log_event(w->relay->log, OUTBOX_LOG_WARNING, "cannot settle; trying on", "messages",
                      LOG_NUM((int64_t)desk->n_items), "error", err.text, NULL);
        w->lost = r == OUTBOX_E_BROKEN;
        if (w->lost || left <= 0) {
            give_up(w, &err);
            break;
        }
        poll(NULL, 0,
             (int)backoff_ms(SETTLE_RETRY_MIN_MS, SETTLE_RETRY_MAX_MS, tries, BACKOFF_UPPER));
    }
    desk->n_items = desk->n_kept = 0;
    w->put_off_ms = 0;
}

/* Reasons are the publisher's until its next call. */
static void keep_reasons(struct batch *desk)
{
    for (; desk->n_kept < desk->n_items; desk->n_kept++) {
        struct outbox_str *reason = &desk->items[desk->n_kept].reason;
        if (reason->p && arena_str(&desk->reasons, reason->p, (size_t)reason->n, reason) < 0)
            *reason = outbox_cstr("out of memory for the reason");
    }
}

void worker_settle_part(struct worker *w)
{
    if (w->store.capabilities & OUTBOX_STORE_PARTIAL)
        worker_settle(w);
    else
        keep_reasons(&w->desk);
}
