/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_run.c - outboxd run: relays until it is stopped, or once. */
#include "cli/command.h"
#include "cli/first_process.h"
#include "cli/serve.h"
#include "common/signals.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define WAIT_DEFAULT_MS 10000

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
    struct relay_report report = {.cut_short = true};
    bool busy;

    int code = serve_run(config, &args->mode, log, args->signals, &report, &busy);
    if (code == EXIT_DONE)
        code = conclude(&report, args->mode.once, log);
    if (!busy)
        return code;
    fflush(stdout);
    _exit(code);
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
