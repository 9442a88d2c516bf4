/* SPDX-License-Identifier: Apache-2.0 */
#include "relay/context.h"

#include "base/clock.h"

#include <outbox/helpers.h>

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uuid.h>

#define COUNT_MS 2000
#define COUNT_AGAIN_MS 20

static void signal_fd(int fd)
{
    uint64_t one = 1;
    /* An eventfd takes a one unless it is nearly full, and then it is readable anyway. */
    if (write(fd, &one, sizeof one) < 0)
        return;
}

bool relay_stopping(const struct relay *relay)
{
    return relay->stopping;
}

void relay_remember_outage(struct relay *relay, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    pthread_mutex_lock(&relay->outage_lock);
    vsnprintf(relay->outage, sizeof relay->outage, fmt, ap);
    pthread_mutex_unlock(&relay->outage_lock);
    va_end(ap);
}

bool relay_gives_up(struct relay *relay, struct suspension *pause, const char *what)
{
    struct suspension_view view = suspension_snapshot(pause);
    if (!view.paused || clock_monotonic_us() - view.began_us < relay->mode.wait_ms * 1000)
        return false;
    relay_remember_outage(relay, "%s was unavailable for %.1f s: %s", what,
                          (double)(clock_monotonic_us() - view.began_us) / 1e6, view.reason);
    return true;
}

int64_t relay_left_ms(const struct relay *relay, int64_t most)
{
    int64_t deadline = relay->deadline_us;
    int64_t left = (deadline - clock_monotonic_us()) / 1000;
    return deadline == INT64_MAX || left > most ? most : left;
}

/* Keeper and watcher are needed as long as anybody works. */
static void quit(struct relay *relay)
{
    signal_fd(relay->quit_fd);
    wakeup_close(&relay->bell);
}

void relay_thread_ended(struct relay *relay)
{
    if (atomic_fetch_sub(&relay->running, 1) == 1)
        signal_fd(relay->ended_fd);
}

void relay_worker_ended(struct relay *relay)
{
    if (atomic_fetch_sub(&relay->working, 1) == 1)
        quit(relay);
    relay_thread_ended(relay);
}

int relay_ended_fd(const struct relay *relay)
{
    return relay->ended_fd;
}

static int prepare(struct relay *relay, struct outbox_err *err)
{
    const struct config *config = relay->config;
    uuid_t id;
    uuid_generate_random(id);
    uuid_unparse_lower(id, relay->id);
    relay->deadline_us = INT64_MAX;
    relay->deferred_until_us = 0;
    relay->hold_ms = config->delivery.batch_timeout_ms;
    for (size_t i = 0; i < config->n_publishers; i++)
        if (config->publishers[i].delivery.batch_timeout_ms > relay->hold_ms)
            relay->hold_ms = config->publishers[i].delivery.batch_timeout_ms;
    relay->hold_ms += HOLD_MORE_MS;
    wakeup_init(&relay->bell, config->poll_interval_ms);
    suspension_init(&relay->store_pause);
    unrouted_gauge_init(&relay->held, UNROUTED_HOLD_MS);
    poison_init(&relay->probation);
    pthread_mutex_init(&relay->registry_lock, NULL);
    pthread_mutex_init(&relay->outage_lock, NULL);
    relay->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (relay->stop_fd < 0 || relay->ended_fd < 0 || relay->quit_fd < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "cannot make an eventfd: %m");
    relay->publishers = calloc(config->n_publishers + 1, sizeof *relay->publishers);
    relay->workers = calloc(config->workers, sizeof *relay->workers);
    if (!relay->publishers || !relay->workers)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory while starting");
    for (size_t i = 0; i < config->n_publishers; i++)
        breaker_init(&relay->publishers[i].breaker);
    for (size_t i = 0; i < config->workers; i++)
        worker_init(&relay->workers[i], relay);
    return OUTBOX_OK;
}

static int open_all(struct relay *relay, struct outbox_err *err)
{
    const struct config *config = relay->config;
    int r = store_open(&relay->keeper_store, config->store_plugin, config->store_options,
                       relay->log, err);
    if (r == 0)
        r = store_open(&relay->registry_store, config->store_plugin, config->store_options,
                       relay->log, err);
    if (r == 0)
        r = store_open(&relay->watcher_store, config->store_plugin, config->store_options,
                       relay->log, err);
    for (size_t i = 0; r == 0 && i < config->workers; i++)
        r = worker_open(&relay->workers[i], err);
    return r;
}

static int start_threads(struct relay *relay, struct outbox_err *err)
{
    bool watches = relay->watcher_store.capabilities & OUTBOX_STORE_WAITS;
    relay->working = relay->config->workers;
    relay->running = relay->working + 1 + watches;
    for (size_t i = 0; i < relay->config->workers; i++) {
        struct worker *worker = &relay->workers[i];
        if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0) {
            relay->working -= relay->config->workers - i;
            return outbox_fail(err, OUTBOX_E_RETRY, "cannot start a thread");
        }
        relay->n_workers++;
    }
    relay->keeper_started = pthread_create(&relay->keeper, NULL, janitor_main, relay) == 0;
    if (!relay->keeper_started)
        return outbox_fail(err, OUTBOX_E_RETRY, "cannot start a thread");
    if (watches) {
        relay->watcher_started = pthread_create(&relay->watcher, NULL, watcher_main, relay) == 0;
        if (!relay->watcher_started)
            return outbox_fail(err, OUTBOX_E_RETRY, "cannot start a thread");
    }
    return OUTBOX_OK;
}

int relay_start(const struct config *config, const struct relay_mode *mode, struct log *log,
                struct relay **ret, struct outbox_err *err)
{
    struct relay *relay = calloc(1, sizeof *relay);
    struct relay_report report;
    if (!relay)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory while starting");
    relay->config = config;
    relay->mode = *mode;
    relay->log = log;
    int r = prepare(relay, err);
    if (r == 0)
        r = open_all(relay, err);
    if (r == 0) {
        /* Signals are for the threads of whoever started us. */
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        r = start_threads(relay, err);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
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
    /* From the first call on: asking again puts nothing off. */
    if (!relay->stopping)
        relay->deadline_us = clock_monotonic_us() + relay->config->shutdown_timeout_ms * 1000;
    relay->stopping = true;
    signal_fd(relay->stop_fd);
    wakeup_close(&relay->bell);
}

uint64_t relay_accepted(const struct relay *relay)
{
    uint64_t n = 0;
    for (size_t i = 0; i < relay->config->n_publishers; i++)
        n += relay->publishers[i].accepted;
    return n;
}

void relay_snapshot(const struct relay *relay, struct relay_report *report)
{
    *report = (struct relay_report){.stale = relay->stale, .failed = relay->refused};
    for (size_t i = 0; relay->publishers && i < relay->config->n_publishers; i++) {
        report->accepted += relay->publishers[i].accepted;
        report->retried += relay->publishers[i].retried;
        report->failed += relay->publishers[i].failed;
    }
}

/* The keeper may just have been called back from connecting, which a store may need a moment to get
 * over: zero would be a lie then. */
static void count_waiting(struct relay *relay, struct relay_report *report)
{
    struct outbox_stats stats = {.size = sizeof stats};
    int64_t end_us = clock_monotonic_us() + (relay->outage[0] ? 0 : COUNT_MS * 1000);
    struct outbox_call call = store_call(relay_left_ms(relay, STORE_CALL_MS), -1);
    struct outbox_str every_lane = {NULL, 0};
    int r;
    while ((r = store_stats(&relay->keeper_store, every_lane, 0, &call, &stats, NULL)) ==
               OUTBOX_E_RETRY &&
           clock_monotonic_us() < end_us)
        poll(NULL, 0, COUNT_AGAIN_MS);
    report->waiting_unknown = r < 0;
    report->waiting = stats.delayed;
    report->cut_short = relay->stopping && (r < 0 || stats.pending + stats.processing > 0);
    report->waiting_at_least = (stats.at_least & OUTBOX_STATS_DELAYED) != 0;
}

void relay_finish(struct relay *relay, struct relay_report *report)
{
    for (size_t i = 0; i < relay->n_workers; i++)
        pthread_join(relay->workers[i].thread, NULL);
    quit(relay);
    if (relay->keeper_started)
        pthread_join(relay->keeper, NULL);
    if (relay->watcher_started)
        pthread_join(relay->watcher, NULL);

    relay_snapshot(relay, report);
    report->unrouted = unrouted_gauge_snapshot(&relay->held);
    memcpy(report->outage, relay->outage, sizeof report->outage);
    if (relay->mode.once && relay->n_workers > 0)
        count_waiting(relay, report);
}

void relay_free(struct relay *relay)
{
    if (!relay)
        return;
    for (size_t i = 0; relay->workers && i < relay->config->workers; i++)
        worker_close(&relay->workers[i]);
    for (size_t i = 0; relay->publishers && i < relay->config->n_publishers; i++)
        breaker_destroy(&relay->publishers[i].breaker);
    free(relay->workers);
    free(relay->publishers);
    store_close(&relay->keeper_store);
    store_close(&relay->registry_store);
    pthread_mutex_destroy(&relay->registry_lock);
    poison_destroy(&relay->probation);
    store_close(&relay->watcher_store);
    wakeup_destroy(&relay->bell);
    suspension_destroy(&relay->store_pause);
    unrouted_gauge_destroy(&relay->held);
    pthread_mutex_destroy(&relay->outage_lock);
    if (relay->stop_fd >= 0)
        close(relay->stop_fd);
    if (relay->ended_fd >= 0)
        close(relay->ended_fd);
    if (relay->quit_fd >= 0)
        close(relay->quit_fd);
    free(relay);
}
