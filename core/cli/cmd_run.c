/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_run.c - outboxd run: relays until it is stopped, or once. */
#include "base/clock.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "relay/relay.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define WAIT_DEFAULT_MS 10000

struct args {
    struct command_common common;
    struct relay_mode mode;
};

static const struct argp_option options[] = {
    {"once", 'o', NULL, 0, "End when no message is due", 0},
    {"wait", 'w', "DURATION", 0,
     "With --once: give up when the store or a publisher was unavailable for so long (10s)", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->common;
        args->mode.wait_ms = -1;
        return 0;
    case 'o':
        args->mode.once = true;
        return 0;
    case 'w':
        args->mode.wait_ms = argp_duration(state, "wait", arg);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "takes no argument");
        return 0;
    case ARGP_KEY_END:
        if (args->mode.wait_ms >= 0 && !args->mode.once)
            argp_error(state, "--wait goes with --once");
        if (args->mode.wait_ms < 0)
            args->mode.wait_ms = WAIT_DEFAULT_MS;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The signals that this program answers, as a descriptor; blocked for all threads. */
static int open_signals(void)
{
    sigset_t signals;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    if (pthread_sigmask(SIG_BLOCK, &signals, NULL) != 0)
        return -1;
    return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* The process ends here and now; what is claimed is free when its lease ends. */
static void leave(struct log *log, const char *why)
{
    log_event(log, OUTBOX_LOG_WARNING, why, NULL);
    _exit(EXIT_FAILED);
}

#define PROGRESS_POLL_MS 500

/* What a once-relay shows on a terminal; the store is asked only when the line is due. */
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

/* How long to sleep: until a deadline, or until there is progress to show. */
static int next_ms(int64_t deadline_us, const struct show *show)
{
    int64_t left =
        deadline_us == INT64_MAX ? INT32_MAX : (deadline_us - clock_monotonic_us()) / 1000;
    if (show->progress.terminal && left > PROGRESS_POLL_MS)
        left = PROGRESS_POLL_MS;
    return left == INT32_MAX ? -1 : left < 0 ? 0 : (int)left;
}

/* Until the workers have ended. */
static void serve(struct relay *relay, const struct config *config, struct log *log, int signals,
                  struct show *shown)
{
    struct pollfd fds[] = {{.fd = signals, .events = POLLIN},
                           {.fd = relay_ended_fd(relay), .events = POLLIN}};
    int64_t deadline_us = INT64_MAX;
    struct signalfd_siginfo got;
    while (!(fds[1].revents & POLLIN)) {
        if (deadline_us != INT64_MAX && clock_monotonic_us() >= deadline_us)
            leave(log, "shutdown_timeout is over; leaving what is in flight to its lease");
        show(shown, relay);
        if (poll(fds, 2, next_ms(deadline_us, shown)) <= 0)
            continue;
        if (!(fds[0].revents & POLLIN) || read(signals, &got, sizeof got) != sizeof got)
            continue;
        if (got.ssi_signo == SIGHUP) {
            log_event(log, OUTBOX_LOG_WARNING,
                      "reload is not supported yet; restart to read the file again", NULL);
        } else if (deadline_us != INT64_MAX) {
            leave(log, "second signal; leaving at once what is in flight to its lease");
        } else {
            deadline_us = clock_monotonic_us() + config->shutdown_timeout_ms * 1000;
            relay_stop(relay);
            log_event(log, OUTBOX_LOG_INFO, "stopping", "signal",
                      got.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM", NULL);
        }
    }
}

static int conclude(const struct relay_report *report, bool once, struct log *log)
{
    log_event(log, OUTBOX_LOG_INFO, "stopped", "published", LOG_NUM((int64_t)report->accepted),
              "retried", LOG_NUM((int64_t)report->retried), "failed",
              LOG_NUM((int64_t)report->failed), NULL);
    if (!once)
        return EXIT_DONE;
    char waiting[32] = "unknown";
    if (!report->waiting_unknown)
        snprintf(waiting, sizeof waiting, "%s%" PRIu64, report->waiting_at_least ? ">=" : "",
                 report->waiting);
    printf("published %" PRIu64 ", failed %" PRIu64 ", not due yet %s (of these unrouted %" PRIu64
           ")\n",
           report->accepted, report->failed, waiting, report->unrouted);
    if (report->outage[0])
        return command_fail("%s", report->outage);
    if (report->cut_short)
        return command_fail("stopped by a signal before all that is due was published");
    return report->failed > 0 ? EXIT_FAILED : EXIT_DONE;
}

static int run(const struct config *config, const struct relay_mode *mode, struct log *log,
               int signals)
{
    struct relay *relay;
    struct relay_report report;
    struct outbox_err err = {.size = sizeof err};
    int r = relay_start(config, mode, log, &relay, &err);
    if (r < 0) {
        command_fail("%s: %s", config->file, err.text);
        return command_code(r);
    }
    log_event(log, OUTBOX_LOG_INFO, "started", "version", PACKAGE_VERSION, "relay", config->name,
              "store", config->store_plugin->desc.name, "publishers",
              LOG_NUM((int64_t)config->n_publishers), "workers", LOG_NUM(config->workers), NULL);
    struct show shown = {.progress = {0}};
    if (mode->once) {
        progress_begin(&shown.progress, "run");
        if (store_open(&shown.store, config->store_plugin, config->store_options, NULL, &err) < 0)
            shown.progress.terminal = false;
    }
    serve(relay, config, log, signals, &shown);
    progress_end(&shown.progress);
    store_close(&shown.store);
    relay_finish(relay, &report);
    relay_free(relay);
    return conclude(&report, mode->once, log);
}

int cmd_run(int argc, char **argv)
{
    static const struct argp_child children[] = {{&command_common_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Relays messages, in the foreground, until SIGTERM or SIGINT. With --once it ends "
               "when none is due: exit code 1 if a message became failed or something stayed "
               "unavailable.",
        .children = children,
    };
    struct args args = {0};
    if (!command_parse(&argp, argc, argv, &args))
        return EXIT_FAILED;
    /* Before anything else: a supervisor that stops what it has just started is answered, too. */
    int signals = open_signals();
    if (signals < 0)
        return command_fail("cannot take signals: %m");
    int code;
    struct config *config = command_config(&args.common, &code);
    if (!config)
        return code;
    struct log *log =
        log_new(STDERR_FILENO, config->log_level, (enum log_format)config->log_format);
    code = log ? run(config, &args.mode, log, signals) : command_fail("out of memory");
    log_free(log);
    config_free(config);
    close(signals);
    return command_finish(code);
}
