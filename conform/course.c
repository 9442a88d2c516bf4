/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/course.h"

#include "conform/kit.h"
#include "conform/target.h"
#include "plugin/instance.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* After the time that a call may take: it does not come back any more. */
#define NEVER_MS 10000
/* A machine may be so busy. */
#define LATE_CANCEL_MS 1000

static struct course *record;
static const struct plugin *checked; /* in the process of the course */
static int output[2];                /* its stdout and stderr */

void course_begin(void)
{
    record = kit_shared(sizeof *record);
}

/* ---- in its process: what it notes ---- */

void course_enter(struct course *c, const char *operation, int64_t allowed_ms)
{
    snprintf(c->operation, sizeof c->operation, "%s", operation);
    c->began_ms = now_ms();
    c->allowed_ms = allowed_ms;
    c->in_call = true;
}

int64_t course_leave(struct course *c)
{
    c->in_call = false;
    return now_ms() - c->began_ms;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void add(struct course *c, const char *rule, const char *operation, const char *what)
{
    pthread_mutex_lock(&lock);
    if (c->n_reports < COURSE_REPORTS) {
        struct course_report *r = &c->reports[c->n_reports];
        snprintf(r->rule, sizeof r->rule, "%s", rule);
        snprintf(r->operation, sizeof r->operation, "%s", operation);
        snprintf(r->what, sizeof r->what, "%s", what);
        r->round = c->round;
        c->n_reports++;
    }
    pthread_mutex_unlock(&lock);
}

static void report(void *ctx, const char *instance, const char *operation, const char *rule,
                   const char *what)
{
    (void)instance;
    add(ctx, rule, operation, what);
}

void course_report(struct course *c, const char *rule, const char *fmt, ...)
{
    char what[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    add(c, rule, c->operation, what);
}

bool course_has(const struct course *c, const char *rule)
{
    for (size_t i = 0; i < c->n_reports; i++)
        if (strcmp(c->reports[i].rule, rule) == 0)
            return true;
    return false;
}

void course_trouble(struct course *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (!c->trouble[0])
        vsnprintf(c->trouble, sizeof c->trouble, fmt, ap);
    va_end(ap);
}

void course_judge_cancel(struct course *c, const char *operation, int64_t ms, uint32_t grace_ms)
{
    if (ms > grace_ms + LATE_CANCEL_MS)
        course_report(
            c, "ignores-cancel",
            "%s returned %lld ms after cancel_fd had become readable, with a grace_ms of %u",
            operation, (long long)ms, grace_ms);
}

/* The descriptor of the last cancelled call. */
static int cancel_fd = -1;

/* Also when the plugin has read the descriptor meanwhile: a timer that is over has no time left. */
static bool is_cancelled(void *ctx)
{
    struct itimerspec left;
    (void)ctx;
    return timerfd_gettime(cancel_fd, &left) == 0 && left.it_value.tv_sec == 0 &&
           left.it_value.tv_nsec == 0;
}

int course_cancel_in(int ms)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    const struct itimerspec when = {.it_value = {ms / 1000, ms % 1000 * 1000000L + 1}};
    if (fd < 0 || timerfd_settime(fd, 0, &when, NULL) < 0)
        abort();
    if (ms == 0)
        sleep_ms(1);
    cancel_fd = fd;
    return fd;
}

/* ---- its process ---- */

static void on_fault(int sig, siginfo_t *info, void *context)
{
    (void)context;
    bool at = checked && (sig == SIGSEGV || sig == SIGBUS);
    const char *rule = at ? checked_rule_at(checked, info->si_addr) : NULL;
    record->signal = sig;
    for (size_t i = 0; rule && rule[i] && i < sizeof record->fault_rule - 1; i++)
        record->fault_rule[i] = rule[i];
    _exit(99);
}

static void catch_faults(void)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    static char stack[1 << 16];
    const stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigset_t all;
    sigaltstack(&alt, NULL);
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        sigaction(faults[i], &act, NULL);
        sigdelset(&all, faults[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
}

/* The layer looks for output in files. */
static void give_output(void)
{
    dup2(output[0], STDOUT_FILENO);
    dup2(output[1], STDERR_FILENO);
}

static void drive(void)
{
    struct setup *s = target();
    int log_fd = memfd_create("log", MFD_CLOEXEC);
    const struct checker checker = {
        .report = report, .is_cancelled = is_cancelled, .ctx = record, .flags = CHECKER_ALONE};
    catch_faults();
    give_output();
    if (checked_plugin_new(s->plugin, &checker, &checked) < 0)
        abort();
    const struct instance_setup setup = {.plugin = checked,
                                         .cfg = s->options,
                                         .label = s->section,
                                         .log = log_new(log_fd, OUTBOX_LOG_DEBUG, LOG_LOGFMT),
                                         .publish_ms = s->publish_ms};
    for (; record->round < 3 && !course_has(record, "late-return"); record->round++) {
        if (s->kind == OUTBOX_KIND_PUBLISHER)
            course_publisher(record, &setup);
        else if (s->kind == OUTBOX_KIND_STORE)
            course_store(record, &setup);
        else
            course_rule(record, &setup);
    }
    sleep_ms(300); /* for what it does after close */
    record->ended = true;
    _exit(0);
}

static bool is_stuck(void)
{
    int64_t began = record->began_ms;
    return record->in_call && now_ms() > began + record->allowed_ms + NEVER_MS;
}

static void run_once(void)
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        drive();
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (is_stuck()) {
            record->never_returned = true;
            kill(pid, SIGKILL);
        }
        sleep_ms(5);
    }
    if (WIFSIGNALED(status) && !record->never_returned)
        record->signal = WTERMSIG(status);
    else if (!record->ended && !record->signal && !record->never_returned)
        course_trouble(record, "the plugin ended the process, with code %d", WEXITSTATUS(status));
    record->run = true;
}

/* What a busy machine may have done, and not the plugin. */
static bool is_of_time(const char *rule)
{
    static const char *const rules[] = {"late-return", "ignores-cancel", "slow-open",
                                        "slow-close",  "slow-route",     "collects-late"};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (strcmp(rule, rules[i]) == 0)
            return true;
    return false;
}

/* Those of the second run that the first one has, too; and all that are not of time. */
static void keep_confirmed(const struct course *first)
{
    size_t kept = 0;
    for (size_t i = 0; i < record->n_reports; i++)
        if (!is_of_time(record->reports[i].rule) || course_has(first, record->reports[i].rule))
            record->reports[kept++] = record->reports[i];
    record->n_reports = kept;
}

const struct course *course_run(void)
{
    bool again = false;
    if (record->run)
        return record;
    (void)target(); /* a plugin that cannot be loaded ends the test here */
    output[0] = memfd_create("stdout", MFD_CLOEXEC);
    output[1] = memfd_create("stderr", MFD_CLOEXEC);
    run_once();
    for (size_t i = 0; i < record->n_reports; i++)
        again |= is_of_time(record->reports[i].rule);
    if (again && record->ended) {
        static struct course first;
        first = *record;
        memset(record, 0, sizeof *record);
        run_once();
        keep_confirmed(&first);
    }
    return record;
}
