/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/jobs.h - the messages that the workers of a section have submitted to one client, and what
 * the client's thread does with them. <outbox/client.h> explains it and has the rest.
 */
#ifndef OUTBOX_JOBS_H
#define OUTBOX_JOBS_H

#include <outbox/wait.h>

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

struct outbox_client;
struct outbox_client_instance;
struct outbox_jobs;

/** A message on its way. */
struct outbox_job {
    struct outbox_job *next, *prev;
    struct outbox_jobs *list; /* that it is in */
    struct outbox_client_instance *owner;
    const struct outbox_message *msg;
    struct outbox_outcome *outcome; /* written by collect alone */
    int64_t until_us;               /* by then it has its outcome; monotonic, as sent_us */
    int64_t sent_us;                /* set by outbox_client_sent */
    /* The plugin's, at first zero: what the other side or the library calls it. */
    uint64_t number;
    int id;
    void *data;
    uint32_t verdict, after_ms;
    char *reason; /* NULL: none */
};

/** A list of jobs, oldest first. */
struct outbox_jobs {
    struct outbox_job *first, *last;
    uint64_t n;
};

/** What the instances of a section share. Set what is the plugin's; the rest is read-only for it,
 * and protected by the lock. */
struct outbox_client {
    const struct outbox_host *host;
    const struct outbox_cfg *cfg;
    /** The plugin's: the thread's work, as above. */
    void (*run)(struct outbox_client *c);
    /** The plugin's: frees what it allocated for c, and c itself. After the thread has ended. */
    void (*destroy)(struct outbox_client *c);
    /** The plugin's, may be NULL: job is about to leave for its instance, whatever ended it; it and
     * its message are not to be used any more. Under the lock, by any thread. */
    void (*forget)(struct outbox_client *c, struct outbox_job *job);

    pthread_mutex_t lock;
    pthread_t thread;
    int wake_fd;  /* an eventfd: there is something for the thread */
    int ended_fd; /* an eventfd: the thread has ended */
    int ending;   /* the thread is to return, and uses neither host nor cfg from now on */
    int abandoned;
    int is_connected;
    struct outbox_client_instance *instances;
    struct outbox_jobs queue, sent; /* to be sent; without an answer */
    int64_t earliest_us;            /* no job has to be done before */
    struct outbox_err down;         /* code < 0: why it is unavailable */
};

struct outbox_client_instance {
    struct outbox_client_instance *next;
    const struct outbox_host *host;
    struct outbox_client *client;
    struct outbox_jobs done;   /* to be handed out; under the lock, as what follows */
    struct outbox_err failure; /* code < 0: the next collect tells it */
    struct outbox_err checked;
    int checking;
    int ready_fd; /* an eventfd: collect has something */
    int told_fd;  /* an eventfd: the check has its answer */
    struct outbox_outcome **handed;
    struct outbox_reasons reasons;
    char text[504];
};

static inline int64_t outbox_client_now_us(const struct outbox_client *c)
{
    return c->host->monotonic_us(c->host);
}

/* ---- jobs: all under the lock ---- */

static inline void outbox_jobs_remove(struct outbox_job *job)
{
    struct outbox_jobs *jobs = job->list;
    if (job->prev)
        job->prev->next = job->next;
    else
        jobs->first = job->next;
    if (job->next)
        job->next->prev = job->prev;
    else
        jobs->last = job->prev;
    jobs->n--;
    job->list = OUTBOX_NULL;
}

static inline void outbox_jobs_push(struct outbox_jobs *jobs, struct outbox_job *job)
{
    job->list = jobs;
    job->next = OUTBOX_NULL;
    job->prev = jobs->last;
    if (jobs->last)
        jobs->last->next = job;
    else
        jobs->first = job;
    jobs->last = job;
    jobs->n++;
}

static inline void outbox_job_free(struct outbox_job *job)
{
    free(job->reason);
    free(job);
}

/**
 * The job has its outcome: it leaves its list, and collect finds it. after_ms as in struct
 * outbox_outcome. `reason` is NULL, or a printf format. The job is not the plugin's any more.
 */
static inline OUTBOX_PRINTF(5, 6) void outbox_job_done(struct outbox_client *c,
                                                       struct outbox_job *job, uint32_t verdict,
                                                       uint32_t after_ms, const char *reason, ...)
{
    struct outbox_client_instance *x = job->owner;
    char text[1024];
    va_list ap;
    size_t n;
    if (reason) {
        va_start(ap, reason);
        vsnprintf(text, sizeof text, reason, ap);
        va_end(ap);
        n = strlen(text) + 1;
        job->reason = OUTBOX_CAST(char *, malloc(n)); /* NULL: one without a reason */
        if (job->reason)
            memcpy(job->reason, text, n);
    }
    if (c->forget)
        c->forget(c, job);
    outbox_jobs_remove(job);
    job->verdict = verdict;
    job->after_ms = after_ms;
    if (!x->done.first)
        eventfd_write(x->ready_fd, 1);
    outbox_jobs_push(&x->done, job);
}

/* Ends as unset those that belong to the owner (NULL: all), or whose time is over (now_us). */
static inline void outbox_jobs_give_back(struct outbox_client *c, struct outbox_jobs *jobs,
                                         const struct outbox_client_instance *owner)
{
    struct outbox_job *next;
    for (struct outbox_job *job = jobs->first; job; job = next) {
        next = job->next;
        if (!owner || job->owner == owner)
            outbox_job_done(c, job, OUTBOX_UNSET, 0, OUTBOX_NULL);
    }
}

static inline void outbox_jobs_expire(struct outbox_client *c, struct outbox_jobs *jobs,
                                      int64_t now_us)
{
    struct outbox_job *next;
    for (struct outbox_job *job = jobs->first; job; job = next) {
        next = job->next;
        if (job->until_us <= now_us)
            outbox_job_done(c, job, OUTBOX_UNSET, 0, OUTBOX_NULL);
        else if (job->until_us < c->earliest_us)
            c->earliest_us = job->until_us;
    }
}

/* All of them are unset, and the next collect of their instances tells why. */
static inline void outbox_jobs_fail(struct outbox_client *c, struct outbox_jobs *jobs,
                                    const struct outbox_err *err)
{
    for (struct outbox_job *job = jobs->first; job; job = job->next)
        job->owner->failure = *err;
    outbox_jobs_give_back(c, jobs, OUTBOX_NULL);
}

/** Hands out as unset what has no outcome and no time left. outbox_client_wait does it, too. */
static inline void outbox_client_expire(struct outbox_client *c)
{
    int64_t now_us = outbox_client_now_us(c);
    if (now_us < c->earliest_us)
        return;
    c->earliest_us = INT64_MAX;
    outbox_jobs_expire(c, &c->queue, now_us);
    outbox_jobs_expire(c, &c->sent, now_us);
}

/* ---- for the thread, under the lock ---- */

/** 1 if a connection is wanted: something is queued, or a check waits. */
static inline int outbox_client_is_wanted(const struct outbox_client *c)
{
    if (c->queue.first)
        return 1;
    for (const struct outbox_client_instance *x = c->instances; x; x = x->next)
        if (x->checking)
            return 1;
    return 0;
}

/** The next one to send, which stays in the queue; NULL: none. */
static inline struct outbox_job *outbox_client_next(struct outbox_client *c)
{
    int64_t now_us = c->queue.first ? outbox_client_now_us(c) : 0;
    while (c->queue.first && c->queue.first->until_us <= now_us)
        outbox_job_done(c, c->queue.first, OUTBOX_UNSET, 0, OUTBOX_NULL);
    return c->queue.first;
}

/** The job is on its way: it moves to the end of `sent`. */
static inline void outbox_client_sent(struct outbox_client *c, struct outbox_job *job)
{
    job->sent_us = outbox_client_now_us(c);
    outbox_jobs_remove(job);
    outbox_jobs_push(&c->sent, job);
}

/** When the oldest job in `sent` has waited so long for its answer; INT64_MAX: there is none. For
 * plugins that hand over in the order of `sent`. */
static inline int64_t outbox_client_answer_until_us(const struct outbox_client *c,
                                                    int64_t timeout_us)
{
    return c->sent.first ? c->sent.first->sent_us + timeout_us : INT64_MAX;
}

/* What the checks that wait are told; err->code is OUTBOX_OK or an error. */
static inline void outbox_client_tell_checks(struct outbox_client *c, const struct outbox_err *err)
{
    for (struct outbox_client_instance *x = c->instances; x; x = x->next)
        if (x->checking) {
            x->checked = *err;
            x->checking = 0;
            eventfd_write(x->told_fd, 1);
        }
}

/** There is a connection, and all that `check` promises was looked at: also call it while there is
 * one already and outbox_client_is_wanted, or checks are not answered. */
static inline void outbox_client_connected(struct outbox_client *c)
{
    struct outbox_err err;
    memset(&err, 0, sizeof err);
    err.size = sizeof err;
    c->is_connected = 1;
    c->down.code = OUTBOX_OK;
    outbox_client_tell_checks(c, &err);
}

/** No connection can be made, or it is of no use: what is queued waits for the next try. err->code
 * is OUTBOX_E_RETRY, or OUTBOX_E_CONFIG where a person has to look. */
static inline void outbox_client_failed(struct outbox_client *c, const struct outbox_err *err)
{
    c->is_connected = 0;
    c->down = *err;
    outbox_jobs_fail(c, &c->queue, err);
    outbox_client_tell_checks(c, err);
}

/**
 * The connection has ended: what was sent is unknown. Someone who does not like a message may just
 * hang up: if one message was alone on its way, that is told, and the host, which sends one by one
 * after an outage, finds out whether that message is to blame. is_named: the other side has named
 * it, so it is charged.
 */
static inline void outbox_client_lost(struct outbox_client *c, const struct outbox_err *err,
                                      int is_named)
{
    int alone = c->sent.n == 1;
    is_named = is_named && alone;
    c->is_connected = 0;
    if (alone) {
        outbox_job_done(c, c->sent.first, is_named ? OUTBOX_RETRY : OUTBOX_UNAVAILABLE, 0, "%s",
                        err->text);
        outbox_jobs_give_back(c, &c->queue, OUTBOX_NULL);
    }
    outbox_jobs_fail(c, &c->sent, err);
    outbox_jobs_fail(c, &c->queue, err);
    if (!is_named)
        c->down = *err;
}

/* How long to wait, ms, as poll takes it; -1: for ever. */
static inline int outbox_client_wait_ms(const struct outbox_client *c, int64_t until_us)
{
    int64_t left_us;
    if (c->earliest_us < until_us)
        until_us = c->earliest_us;
    if (until_us == INT64_MAX)
        return -1;
    left_us = until_us - outbox_client_now_us(c);
    if (left_us <= 0)
        return 0;
    return left_us / 1000 >= INT32_MAX ? INT32_MAX : OUTBOX_CAST(int, (left_us + 999) / 1000);
}

/**
 * Frees the lock, and waits for work, for one of `events` on fd (-1: there is none), until until_us
 * (INT64_MAX: for ever), or until a job's time is over; locks again, and expires jobs. Returns what
 * poll says of fd.
 */
static inline short outbox_client_wait(struct outbox_client *c, int fd, short events,
                                       int64_t until_us)
{
    struct pollfd fds[2];
    int ms = outbox_client_wait_ms(c, until_us);
    eventfd_t count;
    fds[0].fd = c->wake_fd;
    fds[0].events = POLLIN;
    fds[0].revents = 0;
    fds[1].fd = fd;
    fds[1].events = events;
    fds[1].revents = 0;
    pthread_mutex_unlock(&c->lock);
    if (poll(fds, 2, ms) < 0)
        fds[0].revents = fds[1].revents = 0;
    pthread_mutex_lock(&c->lock);
    if (fds[0].revents)
        eventfd_read(c->wake_fd, &count);
    if (!c->ending)
        outbox_client_expire(c);
    return fds[1].revents;
}

#ifdef __cplusplus
}
#endif
#endif
