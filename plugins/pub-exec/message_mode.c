/* SPDX-License-Identifier: Apache-2.0 */
/* message_mode.c - one process for each message, `concurrency` at once. */
#include "abandoned.h"
#include "common/failpoint.h"
#include "common/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What is kept of a program's stderr. */
#define STDERR_MAX 4096
/* From SIGTERM to SIGKILL, ms. */
#define TERM_GRACE_MS 1000
/* Signals that a program gets before it is left behind. */
#define KILLS 3
/* What a pipe takes without a reader. A payload of this size is written before the program starts,
 * so that it is whole even if this process dies meanwhile: a program cannot tell a payload that was
 * cut off from one that ended. */
#define PIPE_ROOM 65536

/* A process at work on a message. */
struct job {
    struct child child;
    uint64_t index;
    size_t written;
    char text[STDERR_MAX]; /* the beginning of its stderr */
    size_t text_n;
    int64_t deadline_us; /* SIGTERM then, SIGKILL a grace later */
    int n_signals;       /* sent so far */
    bool cut_short;      /* its time was: if it must be killed, what became of it is unknown */
};

/* One call of publish. */
struct run {
    struct exec *x;
    const struct outbox_message *const *msgs;
    struct outbox_outcome *const *outcomes;
    uint64_t n;
    uint64_t next;    /* to be started */
    struct job *jobs; /* `concurrency` of them; n_running have a process */
    size_t n_running;
    bool stop; /* start nothing more */
    bool cancelled;
};

/* The reason is what happened, and what the program wrote to its stderr. */
static void set_outcome(struct run *run, uint64_t index, uint32_t verdict, const char *what,
                        struct outbox_str written)
{
    char clean[STDERR_MAX + 1], text[STDERR_MAX + 256];
    while (written.n > 0 && strchr("\r\n", written.p[written.n - 1]))
        written.n--;
    utf8_clean(written.p, (size_t)written.n, clean, sizeof clean);
    int n = snprintf(text, sizeof text, "%s%s%s", what, written.n ? ": " : "", clean);
    struct outbox_outcome *outcome = run->outcomes[index];
    outcome->verdict = verdict;
    if (verdict != OUTBOX_ACCEPTED)
        arena_str(&run->x->arena, text, (size_t)n, &outcome->reason);
    if (verdict == OUTBOX_UNAVAILABLE)
        run->stop = true;
}

static uint32_t verdict_of(const siginfo_t *info)
{
    if (info->si_pid == 0) /* how it ended is not known */
        return OUTBOX_UNAVAILABLE;
    if (info->si_code != CLD_EXITED)
        return OUTBOX_RETRY;
    switch (info->si_status) {
    case 0:
        return OUTBOX_ACCEPTED;
    case 64:
    case 65:
        return OUTBOX_REJECTED;
    case 69:
    case 78:
    case 126:
    case 127:
        return OUTBOX_UNAVAILABLE;
    default:
        return OUTBOX_RETRY;
    }
}

/* ---- starting ---- */

/* The read end of a pipe that holds the whole payload, or -1. */
static int filled_pipe(const struct outbox_message *msg)
{
    int fds[2];
    if (msg->payload.n > PIPE_ROOM || pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    fcntl(fds[1], F_SETFL, O_NONBLOCK); /* a pipe may have less room than usual */
    ssize_t n = msg->payload.n ? write(fds[1], msg->payload.p, (size_t)msg->payload.n) : 0;
    close(fds[1]);
    if (n == (ssize_t)msg->payload.n)
        return fds[0];
    close(fds[0]);
    return -1;
}

static void fail_start(struct run *run, uint64_t index, int e)
{
    char what[256] = "id, topic, key and headers are too large for a program's environment";
    if (e != E2BIG)
        snprintf(what, sizeof what, "cannot start %.100s: %s%s", run->x->argv[0], strerror(e),
                 exec_hint(run->x));
    set_outcome(run, index, e == E2BIG ? OUTBOX_REJECTED : OUTBOX_UNAVAILABLE, what,
                outbox_cstr(""));
}

static void start(struct run *run, struct job *job)
{
    const struct outbox_message *msg = run->msgs[run->next];
    const char *why;
    char **env;
    uint64_t index = run->next++;
    if (!abandoned_allow(run->x, &why)) {
        set_outcome(run, index, OUTBOX_UNAVAILABLE, why, outbox_cstr(""));
        return;
    }
    int e = environment_of(run->x, msg, &env, &why) < 0 ? ENOMEM : 0;
    if (why) {
        set_outcome(run, index, OUTBOX_REJECTED, why, outbox_cstr(""));
        return;
    }
    int in_fd = e ? -1 : filled_pipe(msg);
    if (!e)
        e = child_start(run->x, env, in_fd, false, &job->child);
    if (in_fd >= 0)
        close(in_fd);
    if (e) {
        fail_start(run, index, e);
        return;
    }
    failpoint("after_publish");
    *job = (struct job){.child = job->child,
                        .index = index,
                        .written = in_fd >= 0 ? (size_t)msg->payload.n : 0,
                        .deadline_us = exec_now_us(run->x) + run->x->timeout_ms * 1000};
    run->n_running++;
}

/* A process is started only if it can have all of its time. */
static void start_jobs(struct run *run, int64_t deadline_us, bool first)
{
    for (uint32_t i = 0; i < run->x->concurrency; i++) {
        int64_t left_us = deadline_us - exec_now_us(run->x);
        if (!first && left_us < run->x->timeout_ms * 1000)
            return;
        /* What cannot be started is over at once. */
        while (run->jobs[i].child.pid == 0 && run->next < run->n && !run->stop)
            start(run, &run->jobs[i]);
    }
}

/* ---- running ---- */

static void write_payload(struct run *run, struct job *job)
{
    if (child_write(&job->child, run->msgs[job->index]->payload, &job->written))
        child_close(&job->child.in_fd);
}

/* Keeps the beginning of what is there. Bounded: a flood must not keep us from the clock. */
static void read_stderr(struct job *job)
{
    char text[4096];
    for (int i = 0; i < PIPE_ROOM / (int)sizeof text && job->child.err_fd >= 0; i++) {
        ssize_t n = read(job->child.err_fd, text, sizeof text);
        if (n < 0 && errno != EINTR)
            return;
        if (n == 0)
            child_close(&job->child.err_fd);
        size_t room = sizeof job->text - job->text_n;
        size_t keep = n < 0 ? 0 : (size_t)n < room ? (size_t)n : room;
        memcpy(job->text + job->text_n, text, keep);
        job->text_n += keep;
    }
}

static void finish(struct run *run, struct job *job)
{
    siginfo_t info = {0};
    char what[128];
    read_stderr(job);
    if (job->n_signals > 0)
        child_signal(&job->child, SIGKILL); /* whatever is left of its group */
    if (job->n_signals > KILLS)
        abandoned_add(run->x, &job->child);
    else
        child_reap(&job->child, &info);
    run->n_running--;
    if (job->cut_short && job->n_signals > 0)
        return;
    if (job->n_signals > 0)
        snprintf(what, sizeof what, "timed out after %lld ms", (long long)run->x->timeout_ms);
    else
        child_describe(&info, what);
    set_outcome(run, job->index, job->n_signals > 0 ? OUTBOX_RETRY : verdict_of(&info), what,
                (struct outbox_str){job->text, job->text_n});
}

/* Its time is over: it is asked to end, then killed. */
static void time_out(struct run *run, struct job *job)
{
    child_signal(&job->child, job->n_signals++ == 0 && !job->cut_short ? SIGTERM : SIGKILL);
    job->deadline_us = exec_now_us(run->x) + TERM_GRACE_MS * 1000;
}

static void cancel(struct run *run, uint32_t grace_ms)
{
    int64_t last = exec_now_us(run->x) + (int64_t)grace_ms * 1000;
    run->cancelled = run->stop = true;
    for (uint32_t i = 0; i < run->x->concurrency; i++) {
        struct job *job = &run->jobs[i];
        if (job->child.pid > 0 && job->deadline_us > last) {
            job->deadline_us = last;
            job->cut_short = true;
        }
    }
}

/* Waits for something to happen to any of the jobs, and handles it. */
static void wait_once(struct run *run, const struct outbox_call *call)
{
    struct pollfd fds[1 + 3 * 64];
    uint32_t n = run->x->concurrency;
    int64_t first = INT64_MAX;
    for (uint32_t i = 0; i < n; i++) {
        const struct job *job = &run->jobs[i];
        fds[3 * i] = (struct pollfd){.fd = job->child.pid_fd, .events = POLLIN};
        fds[3 * i + 1] = (struct pollfd){.fd = job->child.in_fd, .events = POLLOUT};
        fds[3 * i + 2] = (struct pollfd){.fd = job->child.err_fd, .events = POLLIN};
        if (job->child.pid > 0 && job->deadline_us < first)
            first = job->deadline_us;
    }
    fds[3 * n] = (struct pollfd){.fd = run->cancelled ? -1 : call->cancel_fd, .events = POLLIN};
    int64_t left_ms = (first - exec_now_us(run->x) + 999) / 1000;
    for (uint32_t i = 0; i < n; i++)
        left_ms = child_poll_ms(&run->jobs[i].child, left_ms);
    poll(fds, 3 * n + 1, (int)left_ms);
    if (fds[3 * n].revents)
        cancel(run, call->grace_ms);
    for (uint32_t i = 0; i < n; i++) {
        struct job *job = &run->jobs[i];
        if (job->child.pid == 0)
            continue;
        if (fds[3 * i + 1].revents)
            write_payload(run, job);
        if (fds[3 * i + 2].revents)
            read_stderr(job);
        if (child_has_ended(&job->child) || job->n_signals > KILLS)
            finish(run, job);
        else if (exec_now_us(run->x) >= job->deadline_us)
            time_out(run, job);
    }
}

int message_mode_publish(struct exec *x, const struct outbox_message *const *msgs, uint64_t n,
                         const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                         struct outbox_err *err)
{
    struct run run = {.x = x, .msgs = msgs, .n = n, .outcomes = outcomes};
    int64_t deadline_us = exec_now_us(x) + (int64_t)call->timeout_ms * 1000;
    run.jobs = arena_array(&x->arena, x->concurrency, sizeof *run.jobs);
    if (!run.jobs)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (uint32_t i = 0; i < x->concurrency; i++)
        run.jobs[i].child = CHILD_NONE;
    start_jobs(&run, deadline_us, call->timeout_ms >= x->timeout_ms);
    while (run.n_running > 0) {
        wait_once(&run, call);
        start_jobs(&run, deadline_us, false);
    }
    return run.cancelled ? outbox_fail(err, OUTBOX_E_CANCELLED, "the call was cancelled")
                         : OUTBOX_OK;
}
