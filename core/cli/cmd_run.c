/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_run.c - outboxd run: relays until it is stopped, or once. */
#include "base/clock.h"
#include "cli/command.h"
#include "cli/first_process.h"
#include "cli/progress.h"
#include "common/signals.h"
#include "relay/relay.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define WAIT_DEFAULT_MS 10000
/* Signals that come closer together count as one: `timeout` and some supervisors signal the process
 * and its group. */
#define SAME_SIGNAL_US 1000000

struct args {
    struct syntax_args common;
    int signals;            /* a descriptor for the signals that this program answers */
    struct relay_mode mode; /* wait_ms -1: not given */
};

static const struct syntax_option options[] = {
    {"once", 'o', SYNTAX_FLAG, offsetof(struct args, mode.once), NULL,
     "End when no message is due, or becomes due soon"},
    {"wait", 'w', SYNTAX_DURATION, offsetof(struct args, mode.wait_ms), "DURATION",
     "With --once: wait so long for what is not due yet or unavailable (10s)"},
    {0},
};

/* Blocks all signals, also for the threads that start later; these arrive at the descriptor. */
static int open_signals(void)
{
    static const int answered[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGTSTP};
    sigset_t signals;
    signal(SIGPIPE, SIG_IGN);
    signals_block(NULL);
    sigemptyset(&signals);
    for (size_t i = 0; i < sizeof answered / sizeof answered[0]; i++)
        sigaddset(&signals, answered[i]);
    return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Stops or ends the process, as these signals do where they are not blocked. */
static void act_by_default(int signal)
{
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, signal);
    raise(signal);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    pthread_sigmask(SIG_BLOCK, &one, NULL);
}

static void check(struct argp_state *state, void *data)
{
    struct args *args = data;
    struct relay_mode *mode = &args->mode;
    if (mode->wait_ms >= 0 && !mode->once)
        argp_error(state, "--wait goes with --once");
    if (mode->wait_ms < 0)
        mode->wait_ms = WAIT_DEFAULT_MS;
    /* Before the file is read: a supervisor may stop what it has just started. */
    first_process_split();
    args->signals = open_signals();
    if (args->signals < 0)
        exit(report_failure("cannot take signals: %m"));
}

/* Ends the process at once; what is claimed is free when its lease ends. */
static void leave(struct log *log, const char *why)
{
    log_event(log, OUTBOX_LOG_WARNING, why, NULL);
    _exit(EXIT_FAILED);
}

#define PROGRESS_POLL_MS 500

/* The progress line of run --once, with a store of its own that counts what is left. */
struct show {
    struct progress progress;
    struct store store;
};

static void show(struct show *show, const struct relay *relay)
{
    struct outbox_stats stats = {.size = sizeof stats};
    struct outbox_call call = store_call(PROGRESS_POLL_MS, -1);
    struct relay_report done;
    if (!progress_due(&show->progress))
        return;
    relay_snapshot(relay, &done);
    int r = store_stats(&show->store, (struct outbox_str){NULL, 0}, OUTBOX_STATS_EXACT, &call,
                        &stats, NULL);
    progress_step(&show->progress, done.accepted,
                  r < 0 ? PROGRESS_UNKNOWN : stats.pending + stats.processing, false);
}

/* How long poll may wait, ms: until the deadline, or until a progress line is due; -1: for ever. */
static int next_ms(int64_t deadline_us, const struct show *show)
{
    int64_t left = (deadline_us - clock_monotonic_us()) / 1000;
    if (show->progress.terminal && left > PROGRESS_POLL_MS)
        left = PROGRESS_POLL_MS;
    return left > INT32_MAX ? -1 : left < 0 ? 0 : (int)left;
}

/* Runs until the workers have ended. The first SIGTERM or SIGINT starts the shutdown and its
 * deadline; a second one, at least a second later, or the deadline ends the process without the
 * workers. */
static void serve(struct relay *relay, const struct config *config, struct log *log, int signals,
                  struct show *shown)
{
    struct pollfd fds[] = {{.fd = signals, .events = POLLIN},
                           {.fd = relay_ended_fd(relay), .events = POLLIN}};
    int64_t first_us = 0, deadline_us = INT64_MAX;
    struct signalfd_siginfo got;
    while (!(fds[1].revents & POLLIN)) {
        if (deadline_us != INT64_MAX && clock_monotonic_us() >= deadline_us)
            leave(log, "shutdown_timeout is over; leaving what is in flight to its lease");
        show(shown, relay);
        if (poll(fds, 2, next_ms(deadline_us, shown)) <= 0)
            continue;
        if (!(fds[0].revents & POLLIN) || read(signals, &got, sizeof got) != sizeof got)
            continue;
        if (got.ssi_signo == SIGQUIT || got.ssi_signo == SIGTSTP) {
            act_by_default((int)got.ssi_signo);
        } else if (got.ssi_signo == SIGHUP) {
            log_event(log, OUTBOX_LOG_WARNING,
                      "reload is not supported yet; restart to read the file again", NULL);
        } else if (deadline_us != INT64_MAX) {
            if (clock_monotonic_us() - first_us >= SAME_SIGNAL_US)
                leave(log, "second signal; leaving at once what is in flight to its lease");
        } else {
            first_us = clock_monotonic_us();
            deadline_us = first_us + config->shutdown_timeout_ms * 1000;
            relay_stop(relay);
            log_event(log, OUTBOX_LOG_INFO, "stopping", "signal",
                      got.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM", NULL);
        }
    }
}

/* Prints how many messages of a kind are left, if any. Returns an exit code. */
static int left(const char *kind, uint64_t n, bool at_least)
{
    return n == 0 ? EXIT_DONE
                  : report_failure("left: %s%" PRIu64 " %s", at_least ? ">= " : "", n, kind);
}

/* After a run that nothing cut short: what is left and might have been sent. */
static int report_left(const struct relay_report *report)
{
    const struct outbox_stats *stats = &report->left;
    uint64_t due = stats->pending > stats->parked ? stats->pending - stats->parked : 0;
    uint64_t held = due > report->quarantined ? due - report->quarantined : 0;
    if (report->left_unknown)
        return EXIT_DONE;
    left("with a status that no relay knows; nobody sends them", stats->unknown, false);
    return left("in lanes, which this relay does not serve", stats->parked, false) |
           left("in quarantine, because the table refuses to change them", due - held, false) |
           left("due, but held by another relay or a lock of the database", held,
                (stats->at_least & OUTBOX_STATS_PENDING) != 0) |
           left("claimed by another relay; if it died, until its lease ends", stats->processing,
                (stats->at_least & OUTBOX_STATS_PROCESSING) != 0);
}

static int conclude(const struct relay_report *report, bool once, struct log *log)
{
    log_event(log, OUTBOX_LOG_INFO, "stopped", "published", LOG_NUM((int64_t)report->accepted),
              "retried", LOG_NUM((int64_t)report->retried), "failed",
              LOG_NUM((int64_t)report->failed), NULL);
    if (!once)
        return EXIT_DONE;
    char waiting[32] = "unknown";
    if (!report->left_unknown)
        snprintf(waiting, sizeof waiting, "%s%" PRIu64,
                 report->left.at_least & OUTBOX_STATS_DELAYED ? ">=" : "", report->left.delayed);
    printf("published %" PRIu64 ", failed %" PRIu64 ", not due yet %s (of these unrouted %" PRIu64
           ")\n",
           report->accepted, report->failed, waiting, report->unrouted);
    if (report->outage[0])
        return report_failure("%s", report->outage);
    if (report->cut_short)
        return report_failure("stopped by a signal before all that is due was published");
    return report_left(report) | (report->failed > 0 ? EXIT_FAILED : EXIT_DONE);
}

static int relay(const struct config *config, const struct args *args, struct log *log)
{
    struct relay *relay;
    struct relay_report report;
    struct outbox_err err = {.size = sizeof err};
    struct show shown = {.progress = {0}};
    int r = relay_start(config, &args->mode, log, &relay, &err);
    if (r < 0) {
        report_failure("%s: %s", config->file, err.text);
        return report_exit_code(r);
    }
    log_event(log, OUTBOX_LOG_INFO, "started", "version", PACKAGE_VERSION, "relay", config->name,
              "store", config->store_plugin->desc.name, "publishers",
              LOG_NUM((int64_t)config->n_publishers), "workers", LOG_NUM(config->workers), NULL);
    if (args->mode.once) {
        progress_begin(&shown.progress, "run");
        if (config_open_store(config, &shown.store, NULL, &err) < 0)
            shown.progress.terminal = false;
    }
    serve(relay, config, log, args->signals, &shown);
    progress_end(&shown.progress);
    store_close(&shown.store);
    relay_finish(relay, &report);
    relay_free(relay);
    return conclude(&report, args->mode.once, log);
}

static int run(const struct config *config, void *data)
{
    const struct args *args = data;
    struct log *log =
        log_new(STDERR_FILENO, config->log_level, (enum log_format)config->log_format);
    int code = log ? relay(config, args, log) : report_failure("out of memory");
    log_free(log);
    close(args->signals);
    return code;
}

const struct command cmd_run = {
    .name = "run",
    .summary = "relay messages, in the foreground",
    .syntax.options = options,
    .syntax.doc =
        "Relays messages, in the foreground, until SIGTERM or SIGINT. With --once it ends when "
        "none is due: exit code 1 if a message became failed, something stayed unavailable, or "
        "messages are left that are due.",
    .syntax.check = check,
    .args_size = sizeof(struct args),
    .defaults = &(const struct args){.mode = {.wait_ms = -1}},
    .run_config = run,
};
