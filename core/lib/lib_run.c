/* SPDX-License-Identifier: Apache-2.0 */
/* lib_run.c - liboutbox: a relay runs, until it is stopped or once; and what it has done. */
#include "base/clock.h"
#include "lib/liboutbox.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>

/* How often a relay is looked at that is to become idle, ms: at first, and at last. */
#define LOOK_MIN_MS 2
#define LOOK_MAX_MS 50

/* ---- starting ---- */

/* With one publisher there is nothing to route. */
static int route_to_the_only_one(struct config *c, struct outbox_err *err)
{
    if (c->n_publishers != 1)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "a relay with several publishers needs a router before it can start");
    if (!c->routes.fallback && !(c->routes.fallback = strdup(c->publishers[0].name)))
        return lib_out_of_memory(err);
    return config_finish(c) < 0 ? lib_out_of_memory(err) : OUTBOX_OK;
}

static int start(struct outbox_relay *relay, const struct relay_mode *mode, struct outbox_err *err)
{
    struct config *c = relay->config;
    if (relay->relay)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the relay runs already");
    if (!c->store_options || c->n_publishers == 0)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "a relay needs a store and a publisher before it can start");
    struct relay *started = NULL;
    int r = lib_has_router(relay) ? OUTBOX_OK : route_to_the_only_one(c, err);
    if (r == 0)
        r = config_check_publishers(c, err);
    if (r == 0)
        r = relay_start(c, mode, relay->log, &started, err);
    pthread_mutex_lock(&relay->lock);
    relay->relay = started;
    pthread_mutex_unlock(&relay->lock);
    return r;
}

OUTBOX_EXPORT int outbox_relay_start(struct outbox_relay *relay, struct outbox_err *err)
{
    const struct relay_mode mode = {.once = false};
    return start(relay, &mode, err);
}

/* ---- counts ---- */

static void add_counts(struct outbox_relay_counts *to, const struct relay_report *report)
{
    to->accepted += report->accepted;
    to->retried += report->retried;
    to->failed += report->failed;
    to->stale += report->stale;
}

OUTBOX_EXPORT int outbox_relay_count(const struct outbox_relay *relay,
                                     struct outbox_relay_counts *ret)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&relay->lock; /* const to the caller */
    pthread_mutex_lock(lock);
    struct outbox_relay_counts counts = relay->last;
    if (relay->relay) {
        struct relay_report now;
        relay_snapshot(relay->relay, &now);
        add_counts(&counts, &now);
    }
    pthread_mutex_unlock(lock);
    return lib_give("outbox_relay_counts", &counts, sizeof counts, ret, NULL);
}

/* ---- stopping ---- */

/* Signals of the application may interrupt the wait, and must not end it. */
static bool has_ended(const struct relay *relay, uint32_t timeout_ms)
{
    struct pollfd ended = {.fd = relay_ended_fd(relay), .events = POLLIN};
    int64_t until_us = clock_monotonic_us() + timeout_ms * INT64_C(1000), left_ms;
    do {
        left_ms = (until_us - clock_monotonic_us() + 999) / 1000;
        left_ms = left_ms < 0 ? 0 : left_ms > INT32_MAX ? INT32_MAX : left_ms;
        if (poll(&ended, 1, (int)left_ms) > 0)
            return true;
    } while (left_ms > 0);
    return false;
}

/* All its threads have ended. */
static void finish(struct outbox_relay *relay, struct relay_report *report)
{
    struct relay *ended = relay->relay;
    relay_finish(ended, report);
    pthread_mutex_lock(&relay->lock);
    add_counts(&relay->last, report);
    relay->relay = NULL;
    pthread_mutex_unlock(&relay->lock);
    relay_free(ended);
}

static int refuse_callback(const struct outbox_relay *relay, const char *what,
                           struct outbox_err *err)
{
    return relay_runs_caller(relay->relay)
               ? outbox_fail(err, OUTBOX_E_CONFIG,
                             "a callback cannot %s its relay, which waits for it; let another "
                             "thread do that",
                             what)
               : OUTBOX_OK;
}

OUTBOX_EXPORT int outbox_relay_stop(struct outbox_relay *relay, uint32_t timeout_ms,
                                    struct outbox_err *err)
{
    struct relay_report report;
    if (!relay->relay)
        return OUTBOX_OK;
    int r = refuse_callback(relay, "stop", err);
    if (r < 0)
        return r;
    relay_stop(relay->relay);
    if (!has_ended(relay->relay, timeout_ms))
        return outbox_fail(err, OUTBOX_E_TIMEOUT, "a publisher or the store has not come back yet");
    finish(relay, &report);
    lib_close_counted(relay);
    return OUTBOX_OK;
}

/* ---- once ---- */

static void fill_counts(const struct relay_report *report, struct outbox_relay_counts *ret)
{
    *ret = (struct outbox_relay_counts){.size = sizeof *ret};
    add_counts(ret, report);
    ret->unrouted = report->unrouted;
    ret->due = report->left.pending + report->left.processing;
    ret->delayed = report->left.delayed;
}

OUTBOX_EXPORT int outbox_relay_run_once(struct outbox_relay *relay, uint32_t wait_ms,
                                        struct outbox_relay_counts *ret, struct outbox_err *err)
{
    const struct relay_mode mode = {.once = true, .wait_ms = wait_ms};
    struct relay_report report;
    struct outbox_relay_counts counts = {.size = sizeof counts};
    int r = ret ? lib_give("outbox_relay_counts", &counts, sizeof counts, ret, err) : OUTBOX_OK;
    if (r == 0)
        r = start(relay, &mode, err);
    if (r < 0)
        return r;
    while (!has_ended(relay->relay, UINT32_MAX))
        continue;
    finish(relay, &report);
    fill_counts(&report, &counts);
    if (ret)
        lib_give("outbox_relay_counts", &counts, sizeof counts, ret, NULL);
    return report.outage[0] ? outbox_fail(err, OUTBOX_E_RETRY, "%s", report.outage) : OUTBOX_OK;
}

/* ---- until it is idle ---- */

void lib_close_counted(struct outbox_relay *relay)
{
    if (relay->counted)
        store_close(relay->counted);
    free(relay->counted);
    relay->counted = NULL;
}

static int open_counted(struct outbox_relay *relay, struct outbox_err *err)
{
    if (relay->counted)
        return OUTBOX_OK;
    if (!(relay->counted = calloc(1, sizeof *relay->counted)))
        return lib_out_of_memory(err);
    int r = config_open_store(relay->config, relay->counted, relay->log, err);
    if (r < 0)
        lib_close_counted(relay);
    return r;
}

/* 1: it is idle; 0: `why` says why not. The rows first: what is settled is counted only after the
 * workers have got on. A lane is never served. */
static int is_idle(struct outbox_relay *relay, int64_t left_ms, char *why, size_t cap,
                   struct outbox_err *err)
{
    struct outbox_stats stats = {.size = sizeof stats};
    struct outbox_call call = store_call(left_ms > 0 ? left_ms : 1, -1);
    int r = store_stats(relay->counted, outbox_cstr(NULL), 0, &call, &stats, err);
    if (r < 0)
        return r;
    if (!relay_is_resting(relay->relay, why, cap))
        return 0;
    uint64_t due = stats.pending > stats.parked ? stats.pending - stats.parked : 0;
    snprintf(why, cap, "%" PRIu64 " messages are due, and %" PRIu64 " are claimed", due,
             stats.processing);
    return due + stats.processing == 0;
}

OUTBOX_EXPORT int outbox_relay_wait_idle(struct outbox_relay *relay, uint32_t timeout_ms,
                                         struct outbox_err *err)
{
    int64_t until_us = clock_monotonic_us() + (int64_t)timeout_ms * 1000, left_ms;
    char why[400] = "";
    int pause_ms = LOOK_MIN_MS;
    if (!relay->relay)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the relay does not run");
    int r = refuse_callback(relay, "wait for", err);
    if (r == 0)
        r = open_counted(relay, err);
    if (r < 0)
        return r;
    for (;;) {
        left_ms = (until_us - clock_monotonic_us()) / 1000;
        r = is_idle(relay, left_ms, why, sizeof why, err);
        if (r == OUTBOX_E_NOTSUP)
            return outbox_fail(err, r, "the store cannot count its rows, so that nobody knows");
        if (r > 0)
            return OUTBOX_OK;
        if (r < 0)
            snprintf(why, sizeof why, "the store did not count its rows: %.300s",
                     err ? err->text : "see its log");
        if (left_ms <= 0)
            return outbox_fail(err, OUTBOX_E_TIMEOUT, "the relay is not idle: %s", why);
        poll(NULL, 0, left_ms < pause_ms ? (int)left_ms : pause_ms);
        pause_ms = pause_ms * 2 < LOOK_MAX_MS ? pause_ms * 2 : LOOK_MAX_MS;
    }
}
