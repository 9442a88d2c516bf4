/* SPDX-License-Identifier: Apache-2.0 */
#include "relay/relay.h"

#include "base/clock.h"
#include "common/signals.h"
#include "relay/context.h"
#include "relay/worker.h"

#include <outbox/helpers.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A batch is held a little longer than the longest batch_timeout, so that the first publisher has
 * all of it. */
#define HOLD_MORE_MS 1000
/* A pause between two trials of an unavailable store: the first, and the longest, ms. */
#define STORE_PAUSE_MIN_MS 500
#define STORE_PAUSE_MAX_MS 30000
/* For how long, and how often, a store is asked what is left that is not ready yet, ms. */
#define COUNT_MS 2000
#define COUNT_AGAIN_MS 20

int relay_ended_fd(const struct relay *relay)
{
    return relay->ended_fd;
}

const char *relay_opening(const struct relay *relay)
{
    return relay->opening;
}

struct relay *relay_new(const struct relay_mode *mode, struct log *log)
{
    struct relay *relay = calloc(1, sizeof *relay);
    if (!relay)
        return NULL;
    relay->mode = *mode;
    relay->log = log;
    relay->deadline_us = INT64_MAX;
    relay->stop_fd = relay->drain_fd = relay->ended_fd = relay->quit_fd = -1;
    suspension_init(&relay->store_suspension, STORE_PAUSE_MIN_MS, STORE_PAUSE_MAX_MS);
    suspension_init(&relay->settle_suspension, STORE_PAUSE_MIN_MS, STORE_PAUSE_MAX_MS);
    unrouted_gauge_init(&relay->unrouted, UNROUTED_HOLD_MS);
    wakeup_init(&relay->wakeup, 0);
    pthread_mutex_init(&relay->outage_lock, NULL);
    pthread_mutex_init(&relay->waking_lock, NULL);
    pthread_mutex_init(&relay->next_lock, NULL);
    pthread_mutex_init(&relay->begin_lock, NULL);
    pthread_cond_init(&relay->begin, NULL);
    current_call_init(&relay->janitor_call);
    current_call_init(&relay->watcher_call);
    return relay;
}

/* What is known of a publisher that is kept stays known. */
static bool prepare_publisher(struct relay *relay, size_t i, const struct relay *before)
{
    struct publisher_state *state = &relay->publishers[i];
    size_t was = before ? config_kept_publisher(before->config, relay->config, i) : ROUTE_NONE;
    state->config = &relay->config->publishers[i];
    state->before = was;
    state->common = was == ROUTE_NONE ? publisher_common_new()
                                      : publisher_common_share(before->publishers[was].common);
    return state->common != NULL;
}

/* Makes what the workers need that are opened then. */
static int prepare(struct relay *relay, const struct relay *before, struct outbox_err *err)
{
    const struct config *config = relay->config;
    relay->lineage = before ? lineage_share(before->lineage) : lineage_new();
    relay->n_before = before ? before->config->workers : 0;
    relay->hold_ms = config->delivery.batch_timeout_ms;
    for (size_t i = 0; i < config->n_publishers; i++)
        if (config->publishers[i].delivery.batch_timeout_ms > relay->hold_ms)
            relay->hold_ms = config->publishers[i].delivery.batch_timeout_ms;
    relay->hold_ms += HOLD_MORE_MS;
    relay->wakeup.poll_us = config->poll_interval_ms * 1000;
    relay->began_us = clock_monotonic_us();
    relay->once_workers = config->workers;
    relay->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->drain_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (relay->stop_fd < 0 || relay->drain_fd < 0 || relay->ended_fd < 0 || relay->quit_fd < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "cannot make an eventfd: %m");
    relay->publishers = calloc(config->n_publishers + 1, sizeof *relay->publishers);
    relay->workers = calloc(config->workers, sizeof *relay->workers);
    relay->threads = calloc(config->workers + 3, sizeof *relay->threads);
    bool complete = relay->publishers && relay->workers && relay->threads && relay->lineage;
    for (size_t i = 0; complete && i < config->n_publishers; i++)
        complete = prepare_publisher(relay, i, before);
    if (!complete)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory while starting");
    bool same = before && config_keeps_store(before->config, config);
    relay->row = same ? relay_row_share(before->row) : lineage_new_row(relay->lineage);
    return relay->row ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
}

int relay_open(struct relay *relay, const struct config *config, const struct relay *before,
               struct outbox_err *err)
{
    relay->config = config;
    int r = prepare(relay, before, err);
    context_opens(relay, "the store");
    if (r == 0)
        r = config_open_store(config, &relay->janitor_store, relay->log, err);
    if (r == 0)
        r = config_open_store(config, &relay->watcher_store, relay->log, err);
    if (r == 0 && !(before && before->row == relay->row))
        r = config_open_store(config, &relay->row->store, relay->log, err);
    for (size_t i = 0; r == 0 && i < config->workers; i++) {
        relay->workers[i].may_begin = i >= relay->n_before;
        r = worker_open(&relay->workers[i], relay, err);
    }
    if (r == 0)
        context_opens(relay, NULL);
    return r;
}

static int start_thread(struct relay *relay, void *(*main)(void *), void *arg,
                        struct outbox_err *err)
{
    if (pthread_create(&relay->threads[relay->n_threads], NULL, main, arg) != 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "cannot start a thread");
    relay->n_threads++;
    return OUTBOX_OK;
}

static int start_threads(struct relay *relay, struct outbox_err *err)
{
    bool watches = relay->watcher_store.capabilities & OUTBOX_STORE_WAITS;
    relay->waking_by = watches ? "news" : "polling";
    int r = OUTBOX_OK;
    relay->working = relay->config->workers;
    relay->running = relay->working + 2 + watches;
    for (size_t i = 0; r == 0 && i < relay->config->workers; i++)
        r = start_thread(relay, worker_main, &relay->workers[i], err);
    if (r == 0)
        r = start_thread(relay, janitor_main, relay, err);
    if (r == 0)
        r = start_thread(relay, watchdog_main, relay, err);
    if (r == 0 && watches)
        r = start_thread(relay, watcher_main, relay, err);
    return r;
}

int relay_launch(struct relay *relay, struct outbox_err *err)
{
    /* Signals are for the threads of whoever started us. */
    sigset_t before;
    signals_block(&before);
    int r = start_threads(relay, err);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

int relay_start(const struct config *config, const struct relay_mode *mode, struct log *log,
                struct relay **ret, struct outbox_err *err)
{
    struct relay *relay = relay_new(mode, log);
    struct relay_report report;
    if (!relay)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory while starting");
    /* Signals are for other threads of whoever started us. */
    sigset_t mask;
    signals_block(&mask);
    int r = relay_open(relay, config, NULL, err);
    if (r == 0)
        r = relay_launch(relay, err);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if (r < 0) {
        relay_stop(relay);
        relay_finish(relay, &report);
        relay_free(relay);
        return r;
    }
    *ret = relay;
    return OUTBOX_OK;
}

void relay_stop(struct relay *relay)
{
    /* The time counts from the first call on. */
    if (!relay->stopping)
        relay->deadline_us = clock_monotonic_us() + relay->config->shutdown_timeout_ms * 1000;
    relay->stopping = true;
    eventfd_write(relay->stop_fd, 1);
    wakeup_close(&relay->wakeup);
    pthread_mutex_lock(&relay->begin_lock);
    pthread_cond_broadcast(&relay->begin);
    pthread_mutex_unlock(&relay->begin_lock);
}

bool relay_runs_caller(const struct relay *relay)
{
    for (size_t i = 0; i < relay->n_threads; i++)
        if (pthread_equal(pthread_self(), relay->threads[i]))
            return true;
    return false;
}

static void count(const struct relay *relay, bool own, struct relay_report *report)
{
    *report = (struct relay_report){.stale = relay->stale, .failed = relay->failed};
    for (size_t i = 0; relay->publishers && i < relay->config->n_publishers; i++) {
        const struct publisher_common *common = relay->publishers[i].common;
        if (!common || (own && relay->publishers[i].passed_on))
            continue;
        report->accepted += common->accepted;
        report->retried += common->retried;
        report->failed += common->failed;
    }
}

void relay_snapshot(const struct relay *relay, struct relay_report *report)
{
    count(relay, false, report);
}

/* The janitor's call may just have been cancelled while it connected, which a store may need a
 * moment to get over: zero would be a lie then. */
static void count_left(struct relay *relay, struct relay_report *report)
{
    struct outbox_stats stats = {.size = sizeof stats};
    int64_t end_us = clock_monotonic_us() + (relay->outage[0] ? 0 : COUNT_MS * 1000);
    struct outbox_call call = store_call(context_left_ms(relay, STORE_CALL_MS), -1);
    struct outbox_str every_lane = {NULL, 0};
    struct outbox_err err = {.size = sizeof err};
    sigset_t before;
    int r;
    signals_block(&before);
    while ((r = store_stats(&relay->janitor_store, every_lane, 0, &call, &stats, &err)) ==
               OUTBOX_E_RETRY &&
           clock_monotonic_us() < end_us)
        poll(NULL, 0, COUNT_AGAIN_MS);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    report->left = stats;
    report->left_unknown = r < 0;
    if (r < 0 && r != OUTBOX_E_NOTSUP && !report->outage[0])
        snprintf(report->outage, sizeof report->outage,
                 "the store did not tell what is left: %.300s", err.text);
    report->cut_short = relay->stopping && (r < 0 || stats.pending + stats.processing > 0);
}

static void close_all(struct relay *relay)
{
    sigset_t before;
    signals_block(&before);
    for (size_t i = 0; relay->workers && i < relay->config->workers; i++)
        worker_shut(&relay->workers[i]); /* of a relay that was never launched */
    context_opens(relay, "the store");
    store_close(&relay->janitor_store);
    store_close(&relay->watcher_store);
    relay_row_close(relay->row);
    context_opens(relay, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void relay_finish(struct relay *relay, struct relay_report *report)
{
    for (size_t i = 0; i < relay->n_threads; i++) {
        if (i == relay->config->workers)
            context_quit(relay);
        pthread_join(relay->threads[i], NULL);
    }

    count(relay, true, report);
    report->unrouted = unrouted_gauge_snapshot(&relay->unrouted);
    memcpy(report->outage, relay->outage, sizeof report->outage);
    for (size_t i = 0; relay->workers && i < relay->config->workers; i++)
        if (relay->workers[i].quarantine.n > report->quarantined)
            report->quarantined = relay->workers[i].quarantine.n;
    if (relay->mode.once && relay->n_threads > 0)
        count_left(relay, report);
    close_all(relay);
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

void relay_free(struct relay *relay)
{
    sigset_t before;
    if (!relay)
        return;
    signals_block(&before);
    for (size_t i = 0; relay->workers && i < relay->config->workers; i++)
        worker_close(&relay->workers[i]);
    for (size_t i = 0; relay->publishers && i < relay->config->n_publishers; i++)
        publisher_common_free(relay->publishers[i].common);
    lineage_free(relay->lineage);
    free(relay->workers);
    free(relay->threads);
    free(relay->publishers);
    store_close(&relay->janitor_store);
    store_close(&relay->watcher_store);
    relay_row_free(relay->row);
    wakeup_destroy(&relay->wakeup);
    suspension_destroy(&relay->store_suspension);
    suspension_destroy(&relay->settle_suspension);
    unrouted_gauge_destroy(&relay->unrouted);
    pthread_mutex_destroy(&relay->outage_lock);
    pthread_mutex_destroy(&relay->waking_lock);
    pthread_mutex_destroy(&relay->next_lock);
    pthread_mutex_destroy(&relay->begin_lock);
    pthread_cond_destroy(&relay->begin);
    current_call_destroy(&relay->janitor_call);
    current_call_destroy(&relay->watcher_call);
    close_fd(relay->stop_fd);
    close_fd(relay->drain_fd);
    close_fd(relay->ended_fd);
    close_fd(relay->quit_fd);
    free(relay);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
