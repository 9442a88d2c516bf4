/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/serve.h"

#include "base/clock.h"
#include "cli/command.h"
#include "cli/generation.h"
#include "cli/progress.h"
#include "cli/reload.h"
#include "cli/service.h"
#include "common/signals.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Signals that come closer together count as one: `timeout` and some supervisors signal the process
 * and its group. */
#define SAME_SIGNAL_US 1000000
#define PROGRESS_POLL_MS 500
#define LEFT_POLL_MS 1000

/* Times are monotonic microseconds; INT64_MAX: none. */
struct serve {
    const struct relay_mode *mode;
    const char *file;
    struct log *log;
    int signals;

    struct generation *now;  /* NULL: it is not open yet */
    struct generation *old;  /* hands over to it; NULL: none */
    struct generation *left; /* did not come back when they were to hand over */
    struct relay_report sum; /* of those that have ended */

    struct opening *opening; /* NULL: none */
    int64_t opening_us;      /* when its time is over; INT64_MAX: it is */
    struct reload reload;
    int64_t drain_us; /* when the time of `old` is over, first to finish, then to be cancelled */
    bool cancelled;

    int64_t stopped_us;  /* the first signal; 0: none */
    int64_t deadline_us; /* when this process ends, whatever has not */
    bool failed;         /* it could not start: `code` */
    int code;

    struct progress progress; /* the line of run --once */
    struct store counts;      /* that counts for it */
    struct service service;
};

/* ---- the progress line of run --once ---- */

static void begin_progress(struct serve *s)
{
    struct outbox_err err = {.size = sizeof err};
    progress_begin(&s->progress, "run");
    if (config_open_store(s->now->config, &s->counts, NULL, &err) < 0)
        s->progress.terminal = false;
}

static void show(struct serve *s)
{
    struct outbox_stats stats = {.size = sizeof stats};
    struct outbox_call call = store_call(PROGRESS_POLL_MS, -1);
    struct relay_report done;
    if (!s->now || !progress_due(&s->progress))
        return;
    relay_snapshot(s->now->relay, &done);
    int r = store_stats(&s->counts, (struct outbox_str){NULL, 0}, OUTBOX_STATS_EXACT, &call, &stats,
                        NULL);
    progress_step(&s->progress, done.accepted,
                  r < 0 ? PROGRESS_UNKNOWN : stats.pending + stats.processing, false);
}

/* ---- the end ---- */

static void describe(const struct generation *g, char *text, size_t cap)
{
    size_t n = strlen(text);
    if (g && !generation_has_ended(g) && n < cap)
        relay_describe(g->relay, text + n, cap - n);
}

/* Ends the process at once; what is claimed is free when its lease ends. */
static void leave(struct serve *s, const char *why)
{
    char text[400] = "";
    describe(s->old, text, sizeof text);
    if (text[0] == '\0')
        describe(s->now, text, sizeof text);
    log_event(s->log, OUTBOX_LOG_WARNING, why, "waits_for", text[0] ? text : NULL, NULL);
    _exit(EXIT_FAILED);
}

/* The first SIGTERM or SIGINT starts the shutdown and its deadline; a second one, at least a second
 * later, ends the process without the workers. */
static void stop(struct serve *s, const char *signal)
{
    int64_t now_us = clock_monotonic_us();
    if (s->stopped_us && now_us - s->stopped_us >= SAME_SIGNAL_US)
        leave(s, "second signal; leaving at once what is in flight to its lease");
    if (s->stopped_us)
        return;
    s->stopped_us = now_us;
    log_event(s->log, OUTBOX_LOG_INFO, "stopping", "signal", signal, NULL);
    int64_t within_ms = s->now ? s->now->config->shutdown_timeout_ms : 0;
    if (s->now) {
        s->deadline_us = now_us + within_ms * 1000;
        relay_stop(s->now->relay);
    }
    if (s->old)
        relay_stop(s->old->relay);
    service_stopping(&s->service, within_ms);
}

static void take_signal(struct serve *s)
{
    struct signalfd_siginfo got;
    if (read(s->signals, &got, sizeof got) != sizeof got)
        return;
    if (got.ssi_signo == SIGQUIT || got.ssi_signo == SIGTSTP)
        signals_act_by_default((int)got.ssi_signo);
    else if (got.ssi_signo != SIGHUP)
        stop(s, got.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
    else if (s->mode->once)
        log_event(s->log, OUTBOX_LOG_WARNING, "SIGHUP is ignored: run --once reads its file once",
                  NULL);
    else
        s->reload.wanted = true;
}

static void look_at_left(struct serve *s)
{
    for (struct generation **at = &s->left, *g; (g = *at);) {
        if (!generation_has_ended(g)) {
            at = &g->next;
            continue;
        }
        *at = g->next;
        log_event(s->log, OUTBOX_LOG_INFO, "what was left behind at a reload has ended", NULL);
        generation_add(&s->sum, generation_report(g));
        generation_free(g);
    }
}

/* ---- a relay is opened ---- */

static void fail_to_start(struct serve *s, const char *why, int code)
{
    report_failure("%s", why); /* a section's begins with file and line */
    s->failed = true;
    s->code = code;
}

static void open_next(struct serve *s, const struct config *config)
{
    s->opening = opening_start(s->file, config, s->mode, s->log, s->now ? s->now->relay : NULL,
                               s->now ? s->now->config : NULL);
    s->opening_us = clock_monotonic_us() + OPENING_MS * INT64_C(1000);
    if (s->opening)
        return;
    if (s->now)
        reload_fail(&s->reload, s->now->relay, s->now->config, NULL, "out of memory or threads");
    else
        fail_to_start(s, "out of memory while starting", EXIT_FAILED);
}

static void opening_is_overdue(struct serve *s)
{
    char what[200], why[300];
    s->opening_us = INT64_MAX;
    opening_describe(s->opening, what, sizeof what);
    opening_abandon(s->opening);
    if (s->stopped_us)
        return; /* nobody waits for it any more */
    snprintf(why, sizeof why,
             "%s takes longer than %d s; a plugin may neither connect nor wait there", what,
             OPENING_MS / 1000);
    if (s->now)
        reload_fail(&s->reload, s->now->relay, s->now->config, NULL, why);
    else
        fail_to_start(s, why, EXIT_FAILED);
}

static void begin_reload(struct serve *s)
{
    char what[200], why[300];
    reload_begin(&s->reload);
    if (!s->opening) {
        log_event(s->log, OUTBOX_LOG_INFO, "reloading", "file", s->file, NULL);
        open_next(s, NULL);
        return;
    }
    opening_describe(s->opening, what, sizeof what);
    snprintf(why, sizeof why, "an earlier reload is still %s; restart outboxd", what);
    reload_fail(&s->reload, s->now->relay, s->now->config, NULL, why);
}

static void started(struct serve *s)
{
    const struct config *config = s->now->config;
    log_event(s->log, OUTBOX_LOG_INFO, "started", "version", PACKAGE_VERSION, "relay", config->name,
              "store", config->store_plugin->desc.name, "publishers",
              LOG_NUM((int64_t)config->n_publishers), "workers", LOG_NUM(config->workers), NULL);
    if (s->mode->once)
        begin_progress(s);
    service_ready(&s->service);
}

/* The earlier relay finishes its batches, while the next one begins. */
static void hand_over(struct serve *s, struct opening_result *result)
{
    struct generation *next = NULL;
    reload_compare(&s->reload, s->now->config, result->config);
    int r = generation_start(result->relay, result->config, result->config, &next, &result->err);
    result->relay = NULL;
    result->config = NULL;
    if (r < 0) {
        reload_fail(&s->reload, s->now->relay, s->now->config, NULL, result->err.text);
        return;
    }
    s->old = s->now;
    s->now = next;
    s->cancelled = false;
    s->drain_us = clock_monotonic_us() +
                  1000 * (relay_hold_ms(s->old->relay) + s->old->config->shutdown_timeout_ms);
    log_configure(s->log, next->config->log_level, (enum log_format)next->config->log_format);
    relay_hand_over(s->old->relay, next->relay);
}

static void opened(struct serve *s, const struct config *config)
{
    struct opening_result result;
    bool late = s->opening_us == INT64_MAX;
    opening_take(s->opening, &result);
    s->opening = NULL;
    if (late || s->stopped_us) {
        /* nobody waits for it any more */
    } else if (result.r < 0 && s->now) {
        reload_fail(&s->reload, s->now->relay, s->now->config, &result,
                    result.n_mistakes == 0 ? "out of memory" : NULL);
    } else if (result.r < 0) {
        fail_to_start(s, result.err.text, report_exit_code(result.r));
    } else if (s->now) {
        hand_over(s, &result);
    } else {
        int r = generation_start(result.relay, config, NULL, &s->now, &result.err);
        result.relay = NULL;
        if (r < 0)
            fail_to_start(s, result.err.text, report_exit_code(r));
        else
            started(s);
    }
    opening_drop(&result);
}

/* ---- one hands over to the next ---- */

static void handed_over(struct serve *s)
{
    relay_part(s->old->relay, s->now->relay);
    generation_add(&s->sum, generation_report(s->old));
    generation_free(s->old);
    s->old = NULL;
    if (!s->stopped_us)
        reload_succeed(&s->reload, s->now->relay, s->now->config->name);
}

static void drain_is_overdue(struct serve *s)
{
    char text[400] = "";
    describe(s->old, text, sizeof text);
    if (!s->cancelled) {
        log_event(s->log, OUTBOX_LOG_WARNING,
                  "a worker does not finish its batch; it is cancelled, so that the reload goes on",
                  "waits_for", text, NULL);
        s->cancelled = true;
        s->drain_us = clock_monotonic_us() + s->old->config->shutdown_timeout_ms * 1000;
        relay_stop(s->old->relay);
        return;
    }
    relay_part(s->old->relay, s->now->relay);
    s->old->next = s->left;
    s->left = s->old;
    s->old = NULL;
    snprintf(s->reload.left, sizeof s->reload.left, "%s", text);
    reload_succeed(&s->reload, s->now->relay, s->now->config->name);
}

/* ---- all of it ---- */

static int64_t earliest(const struct serve *s)
{
    int64_t us = s->deadline_us;
    if (s->opening && s->opening_us < us)
        us = s->opening_us;
    return s->old && !s->stopped_us && s->drain_us < us ? s->drain_us : us;
}

/* How long poll may wait, ms; -1: for ever. */
static int next_ms(const struct serve *s)
{
    int64_t left = (earliest(s) - clock_monotonic_us() + 999) / 1000;
    if (s->progress.terminal && left > PROGRESS_POLL_MS)
        left = PROGRESS_POLL_MS;
    if (s->left && left > LEFT_POLL_MS)
        left = LEFT_POLL_MS;
    if (left > service_next_ms(&s->service))
        left = service_next_ms(&s->service);
    return left > INT32_MAX ? -1 : left < 0 ? 0 : (int)left;
}

static void look_at_clock(struct serve *s)
{
    int64_t now_us = clock_monotonic_us();
    if (now_us >= s->deadline_us)
        leave(s, s->stopped_us ? "shutdown_timeout is over; leaving what is in flight to its lease"
                               : "closing takes longer than shutdown_timeout; leaving it");
    if (s->opening && now_us >= s->opening_us)
        opening_is_overdue(s);
    if (s->old && !s->stopped_us && now_us >= s->drain_us)
        drain_is_overdue(s);
}

static void step(struct serve *s, const struct config *config)
{
    bool asked = s->mode->once || s->stopped_us;
    struct pollfd fds[] = {
        {.fd = s->signals, .events = POLLIN},
        {.fd = asked ? -1 : s->reload.listening, .events = POLLIN},
        {.fd = s->opening ? opening_fd(s->opening) : -1, .events = POLLIN},
        {.fd = s->old ? s->old->ended_fd : -1, .events = POLLIN},
        {.fd = s->now ? s->now->ended_fd : -1, .events = POLLIN},
        /* its threads have ended, and only what is open is to be closed: that has a time, too */
        {.fd = s->now && s->deadline_us == INT64_MAX ? relay_ended_fd(s->now->relay) : -1,
         .events = POLLIN},
    };
    show(s);
    service_look(&s->service, &(struct service_view){
                                  s->now ? s->now->relay : NULL, s->old ? s->old->relay : NULL,
                                  &s->sum, s->reload.failed, s->deadline_us != INT64_MAX});
    if (poll(fds, sizeof fds / sizeof fds[0], next_ms(s)) < 0)
        return;
    if (fds[0].revents)
        take_signal(s);
    if (fds[1].revents)
        reload_accept(&s->reload);
    if (fds[2].revents)
        opened(s, config);
    if (fds[3].revents)
        handed_over(s);
    if (fds[5].revents && s->deadline_us == INT64_MAX)
        s->deadline_us = clock_monotonic_us() + s->now->config->shutdown_timeout_ms * 1000;
    look_at_left(s);
    if (!(fds[4].revents && !s->old))
        look_at_clock(s);
    if (s->reload.wanted && s->now && !s->old && !s->stopped_us &&
        (!s->opening || s->opening_us == INT64_MAX))
        begin_reload(s);
}

static bool is_over(const struct serve *s)
{
    if (!s->now)
        return s->failed || s->stopped_us;
    return !s->old && generation_has_ended(s->now);
}

int serve_run(const struct config *config, const struct relay_mode *mode, struct log *log,
              int signals, struct relay_report *ret, bool *ret_busy)
{
    struct serve s = {.mode = mode,
                      .file = config->file,
                      .log = log,
                      .signals = signals,
                      .opening_us = INT64_MAX,
                      .deadline_us = INT64_MAX,
                      .reload = {.listening = -1}};
    if (!mode->once) { /* who runs once is no service */
        service_begin(&s.service, log);
        reload_init(&s.reload, config->file, log, &s.service);
    }
    open_next(&s, config);
    while (!is_over(&s))
        step(&s, config);
    progress_end(&s.progress);
    store_close(&s.counts);
    reload_free(&s.reload);
    service_end(&s.service);
    if (s.now) {
        *ret = *generation_report(s.now);
        generation_add(ret, &s.sum);
    }
    *ret_busy = s.opening || s.left;
    if (s.now && !*ret_busy)
        generation_free(s.now);
    return s.code;
}
