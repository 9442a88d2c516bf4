/* SPDX-License-Identifier: Apache-2.0 */
/* message_mode.c - one process for each message, `concurrency` at once. */
#include "common/failpoint.h"
#include "common/utf8.h"
#include "exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a pipe takes without a reader, so that a small payload is written before the start. */
#define PIPE_ROOM 65536

/* A process at work on a message. */
struct job {
    struct child child;
    uint64_t index;
    size_t written;
    char said[STDERR_MAX];
    size_t said_n;
    int64_t deadline_us; /* SIGTERM then, SIGKILL a grace later */
    int signals;         /* sent so far */
    bool given_up;       /* its time was cut: if it must be killed, what became of it is unknown */
};

struct round {
    struct exec *x;
    const struct outbox_message *const *msgs;
    uint64_t n;
    uint64_t next;
    struct outbox_outcome *const *outcomes;
    struct job *jobs;
    size_t running;
    bool stop; /* start nothing more */
    bool cancelled;
};

static int64_t now_us(const struct exec *x)
{
    return x->host->monotonic_us(x->host);
}

static void conclude(struct round *round, uint64_t index, uint32_t verdict, const char *what,
                     const char *said, size_t said_n)
{
    char clean[STDERR_MAX + 1], text[STDERR_MAX + 256];
    while (said_n > 0 && (said[said_n - 1] == '\n' || said[said_n - 1] == '\r'))
        said_n--;
    utf8_clean(said, said_n, clean, sizeof clean);
    int n = snprintf(text, sizeof text, "%s%s%s", what, said_n ? ": " : "", clean);
    struct outbox_outcome *outcome = round->outcomes[index];
    outcome->verdict = verdict;
    if (verdict != OUTBOX_ACCEPTED)
        arena_str(&round->x->arena, text, n > 0 ? (size_t)n : 0, &outcome->reason);
    if (verdict == OUTBOX_UNAVAILABLE)
        round->stop = true;
}

static uint32_t verdict_of(const siginfo_t *info)
{
    if (!child_end_is_known(info))
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

/* A pipe that holds the whole payload already, or -1. */
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

static void not_started(struct round *round, uint64_t index, int e)
{
    char what[256];
    if (e == E2BIG) {
        conclude(round, index, OUTBOX_REJECTED,
                 "id, topic, key and headers are too large for a program's environment", "", 0);
        return;
    }
    snprintf(what, sizeof what, "cannot start %.100s: %s", round->x->argv[0], strerror(e));
    conclude(round, index, OUTBOX_UNAVAILABLE, what, "", 0);
}

static void start(struct round *round, struct job *job)
{
    const struct outbox_message *msg = round->msgs[round->next];
    struct outbox_str why;
    uint64_t index = round->next++;
    char **env = environment_for(round->x, msg, &why);
    if (!env && why.p) {
        conclude(round, index, OUTBOX_REJECTED, why.p, "", 0);
        return;
    }
    int in_fd = env ? filled_pipe(msg) : -1;
    int e = env ? child_start(round->x, env, in_fd, false, &job->child) : ENOMEM;
    if (in_fd >= 0)
        close(in_fd);
    if (e) {
        not_started(round, index, e);
        return;
    }
    job->index = index;
    job->written = in_fd >= 0 ? (size_t)msg->payload.n : 0;
    failpoint("after_publish");
    job->said_n = 0;
    job->signals = 0;
    job->given_up = false;
    job->deadline_us = now_us(round->x) + round->x->timeout_ms * 1000;
    round->running++;
}

/* ---- running ---- */

static void feed(struct round *round, struct job *job)
{
    struct outbox_str payload = round->msgs[job->index]->payload;
    while (job->written < payload.n) {
        ssize_t n =
            write(job->child.in_fd, payload.p + job->written, (size_t)payload.n - job->written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            break; /* it does not read to the end; its exit code tells whether that is right */
        job->written += (size_t)n;
    }
    child_close(&job->child.in_fd);
}

/* Reads what is there, keeps the beginning. Bounded: a flood must not keep us from the clock. */
static void listen_to(struct job *job)
{
    char text[4096];
    for (int i = 0; i < PIPE_ROOM / (int)sizeof text; i++) {
        ssize_t n = read(job->child.err_fd, text, sizeof text);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return;
        if (n == 0) {
            child_close(&job->child.err_fd);
            return;
        }
        size_t room = sizeof job->said - job->said_n;
        size_t keep = (size_t)n < room ? (size_t)n : room;
        memcpy(job->said + job->said_n, text, keep);
        job->said_n += keep;
    }
}

static void end(struct round *round, struct job *job)
{
    siginfo_t info;
    char what[128], how[64];
    if (job->child.err_fd >= 0)
        listen_to(job);
    if (job->signals > 0)
        child_signal(&job->child, SIGKILL); /* whoever is left of its group */
    child_reap(&job->child, &info);
    round->running--;
    if (job->given_up && job->signals > 0)
        return;
    if (job->signals > 0) {
        snprintf(what, sizeof what, "timed out after %lld ms", (long long)round->x->timeout_ms);
        conclude(round, job->index, OUTBOX_RETRY, what, job->said, job->said_n);
        return;
    }
    conclude(round, job->index, verdict_of(&info), child_describe(&info, how), job->said,
             job->said_n);
}

/* Its time is over: asked to end, then killed. */
static void press(struct round *round, struct job *job)
{
    child_signal(&job->child, job->signals++ == 0 && !job->given_up ? SIGTERM : SIGKILL);
    job->deadline_us = now_us(round->x) + TERM_GRACE_MS * 1000;
}

static void cancel(struct round *round, uint32_t grace_ms)
{
    int64_t last = now_us(round->x) + (int64_t)grace_ms * 1000;
    round->cancelled = round->stop = true;
    for (uint32_t i = 0; i < round->x->concurrency; i++) {
        struct job *job = &round->jobs[i];
        if (job->child.pid > 0 && job->deadline_us > last) {
            job->deadline_us = last;
            job->given_up = true;
        }
    }
}

/* Waits for something to happen to any of the jobs, and lets it happen. */
static void turn(struct round *round, const struct outbox_call *call)
{
    struct pollfd fds[1 + 3 * 64];
    uint32_t most = round->x->concurrency;
    int64_t first = INT64_MAX;
    for (uint32_t i = 0; i < most; i++) {
        const struct job *job = &round->jobs[i];
        fds[3 * i] = (struct pollfd){.fd = job->child.pid_fd, .events = POLLIN};
        fds[3 * i + 1] = (struct pollfd){.fd = job->child.in_fd, .events = POLLOUT};
        fds[3 * i + 2] = (struct pollfd){.fd = job->child.err_fd, .events = POLLIN};
        if (job->child.pid > 0 && job->deadline_us < first)
            first = job->deadline_us;
    }
    fds[3 * most] =
        (struct pollfd){.fd = round->cancelled ? -1 : call->cancel_fd, .events = POLLIN};
    int64_t left = (first - now_us(round->x) + 999) / 1000;
    for (uint32_t i = 0; i < most; i++)
        left = child_poll_ms(&round->jobs[i].child, left);
    poll(fds, 3 * most + 1, (int)left);
    if (fds[3 * most].revents)
        cancel(round, call->grace_ms);
    for (uint32_t i = 0; i < most; i++) {
        struct job *job = &round->jobs[i];
        if (job->child.pid == 0)
            continue;
        if (fds[3 * i + 1].revents)
            feed(round, job);
        if (fds[3 * i + 2].revents)
            listen_to(job);
        if (job->child.pid_fd < 0 ? child_has_ended(&job->child) : fds[3 * i].revents != 0)
            end(round, job);
        else if (now_us(round->x) >= job->deadline_us)
            press(round, job);
    }
}

/* A process is started only if it can have all of its time. */
static void start_some(struct round *round, int64_t deadline_us, bool first)
{
    for (uint32_t i = 0; i < round->x->concurrency; i++) {
        int64_t left = deadline_us - now_us(round->x);
        if (round->next == round->n || round->stop ||
            (!first && left < round->x->timeout_ms * 1000))
            return;
        /* What cannot be started is over at once. */
        while (round->jobs[i].child.pid == 0 && round->next < round->n && !round->stop)
            start(round, &round->jobs[i]);
    }
}

int message_publish(struct exec *x, const struct outbox_message *const *msgs, uint64_t n,
                    const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                    struct outbox_err *err)
{
    struct round round = {.x = x, .msgs = msgs, .n = n, .outcomes = outcomes};
    int64_t deadline_us = now_us(x) + (int64_t)call->timeout_ms * 1000;
    round.jobs = arena_array(&x->arena, x->concurrency, sizeof *round.jobs);
    if (!round.jobs)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (uint32_t i = 0; i < x->concurrency; i++)
        round.jobs[i].child = CHILD_NONE;
    start_some(&round, deadline_us, call->timeout_ms >= x->timeout_ms);
    while (round.running > 0) {
        turn(&round, call);
        start_some(&round, deadline_us, false);
    }
    return round.cancelled ? outbox_fail(err, OUTBOX_E_CANCELLED, "called back") : OUTBOX_OK;
}
