/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/client.h - the asynchronous form, for a plugin of which all instances of a section use one
 * client with one thread. What is here keeps the messages that workers submit, their deadlines and
 * their outcomes; the plugin sends, and says what became of each.
 *
 * The plugin's shared state begins with a struct outbox_client. Its shared_open allocates it, reads
 * the options and ends with outbox_client_start; its shared_close is outbox_client_stop; its
 * operations are OUTBOX_CLIENT_OPS:
 *
 *     struct broker { struct outbox_client client; ... };
 *     static const struct outbox_publisher_ops ops = {OUTBOX_CLIENT_OPS};
 *     OUTBOX_DEFINE_SHARED_PLUGIN(..., ops, options, broker_open, outbox_client_stop)
 *
 * The thread runs `run` once, with the lock held, until c->ending is set:
 *
 *     while (!c->ending) {
 *         if (!b->connected && outbox_client_is_wanted(c))
 *             connect, and then outbox_client_connected or outbox_client_failed
 *         while (the other side takes more, and (job = outbox_client_next(c)) != NULL)
 *             send it, and outbox_client_sent(c, job)
 *         outbox_client_wait(c, fd, events, until_us)
 *         take answers: outbox_job_done for each; after a lost connection: outbox_client_lost
 *     }
 *
 * A job and its message are the plugin's only while it is in `queue` or `sent`, and only under the
 * lock: its time may be over, or its instance closed, whenever the lock is free. Whatever the
 * library keeps has to be a copy; `forget` tells when a job goes.
 *
 * It wants POSIX: compile with -std=gnu99 or later, or define _DEFAULT_SOURCE before all includes.
 */
#ifndef OUTBOX_CLIENT_H
#define OUTBOX_CLIENT_H

#include <outbox/jobs.h>

#include <signal.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How long outbox_client_stop waits for the thread, ms: less than OUTBOX_CLOSE_MS. */
#define OUTBOX_CLIENT_STOP_MS 800

/* ---- its life ---- */

static inline void *outbox_client_thread(void *arg)
{
    struct outbox_client *c = OUTBOX_CAST(struct outbox_client *, arg);
    int abandoned;
    pthread_mutex_lock(&c->lock);
    c->run(c);
    abandoned = c->abandoned;
    eventfd_write(c->ended_fd, 1);
    pthread_mutex_unlock(&c->lock);
    if (abandoned) {
        close(c->wake_fd);
        close(c->ended_fd);
        pthread_mutex_destroy(&c->lock);
        c->destroy(c);
    }
    return OUTBOX_NULL;
}

/** For the end of shared_open: `c` is zeroed but for run, destroy and forget. After an error the
 * caller frees what it allocated. */
static inline int outbox_client_start(struct outbox_client *c, const struct outbox_host *host,
                                      const struct outbox_cfg *cfg, struct outbox_err *err)
{
    sigset_t all, before;
    int e = 0;
    c->host = host;
    c->cfg = cfg;
    c->earliest_us = INT64_MAX;
    c->down.size = sizeof c->down;
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    c->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->wake_fd < 0 || c->ended_fd < 0)
        e = errno;
    pthread_mutex_init(&c->lock, OUTBOX_NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before); /* the thread inherits it */
    if (e == 0)
        e = pthread_create(&c->thread, OUTBOX_NULL, outbox_client_thread, c);
    pthread_sigmask(SIG_SETMASK, &before, OUTBOX_NULL);
    if (e == 0)
        return OUTBOX_OK;
    pthread_mutex_destroy(&c->lock);
    if (c->wake_fd >= 0)
        close(c->wake_fd);
    if (c->ended_fd >= 0)
        close(c->ended_fd);
    return outbox_fail(err, OUTBOX_E_RETRY, "no thread: %s", strerror(e));
}

/** shared_close. A thread that hangs, in the look-up of a name, say, is left behind, and frees what
 * it has once it ends. */
static inline void outbox_client_stop(void *shared)
{
    struct outbox_client *c = OUTBOX_CAST(struct outbox_client *, shared);
    struct pollfd ended;
    int abandoned = 0;
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->ending = 1;
    eventfd_write(c->wake_fd, 1);
    pthread_mutex_unlock(&c->lock);
    ended.fd = c->ended_fd;
    ended.events = POLLIN;
    ended.revents = 0;
    while (poll(&ended, 1, OUTBOX_CLIENT_STOP_MS) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&c->lock);
    if (poll(&ended, 1, 0) < 1) {
        abandoned = c->abandoned = 1;
        pthread_detach(c->thread); /* while it cannot free c */
    }
    pthread_mutex_unlock(&c->lock);
    if (abandoned)
        return;
    pthread_join(c->thread, OUTBOX_NULL);
    close(c->wake_fd);
    close(c->ended_fd);
    pthread_mutex_destroy(&c->lock);
    c->destroy(c);
}

/* ---- the operations ---- */

static inline void outbox_client_close_instance(void *instance)
{
    struct outbox_client_instance *x = OUTBOX_CAST(struct outbox_client_instance *, instance);
    struct outbox_client_instance **at;
    struct outbox_client *c;
    if (!x)
        return;
    c = x->client;
    pthread_mutex_lock(&c->lock);
    outbox_jobs_give_back(c, &c->queue, x);
    outbox_jobs_give_back(c, &c->sent, x);
    while (x->done.first) {
        struct outbox_job *job = x->done.first;
        outbox_jobs_remove(job);
        outbox_job_free(job);
    }
    for (at = &c->instances; *at && *at != x;)
        at = &(*at)->next;
    if (*at)
        *at = x->next;
    pthread_mutex_unlock(&c->lock);
    if (x->ready_fd >= 0)
        close(x->ready_fd);
    if (x->told_fd >= 0)
        close(x->told_fd);
    free(x->handed);
    outbox_reasons_clear(&x->reasons);
    free(x);
}

static inline int outbox_client_open_instance(const struct outbox_host *host,
                                              const struct outbox_cfg *cfg, void **ret,
                                              struct outbox_err *err)
{
    struct outbox_client_instance *x = OUTBOX_CAST(
        struct outbox_client_instance *, calloc(1, sizeof(struct outbox_client_instance)));
    int r = OUTBOX_OK;
    OUTBOX_CAST(void, cfg);
    if (!x)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    x->host = host;
    x->client = OUTBOX_CAST(struct outbox_client *, host->shared);
    x->failure.size = x->checked.size = sizeof x->failure;
    x->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    x->told_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (x->ready_fd < 0 || x->told_fd < 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "eventfd: %s", strerror(errno));
    pthread_mutex_lock(&x->client->lock);
    x->next = x->client->instances;
    x->client->instances = x;
    pthread_mutex_unlock(&x->client->lock);
    return outbox_opened(r, x, outbox_client_close_instance, ret);
}

static inline uint64_t outbox_client_capabilities(void *instance)
{
    OUTBOX_CAST(void, instance);
    return OUTBOX_PUB_KEEPALIVE;
}

/** Waits until the thread has called outbox_client_connected or outbox_client_failed. */
static inline int outbox_client_check(void *instance, const struct outbox_call *call,
                                      struct outbox_err *err)
{
    struct outbox_client_instance *x = OUTBOX_CAST(struct outbox_client_instance *, instance);
    struct outbox_client *c = x->client;
    struct outbox_deadline d;
    eventfd_t count;
    int r;
    outbox_deadline_begin(&d, x->host, call);
    pthread_mutex_lock(&c->lock);
    eventfd_read(x->told_fd, &count); /* of a check that did not wait for it */
    x->checking = 1;
    eventfd_write(c->wake_fd, 1);
    pthread_mutex_unlock(&c->lock);
    r = outbox_wait(&d, x->told_fd, POLLIN, 0);
    pthread_mutex_lock(&c->lock);
    x->checking = 0;
    if (r < 0)
        outbox_fail(err, r, "%s", r == OUTBOX_E_CANCELLED ? "cancelled" : "no connection in time");
    else if (x->checked.code < 0) {
        r = outbox_fail(err, x->checked.code, "%s", x->checked.text);
        if (x->checked.option[0] && err && OUTBOX_HAS(err, option))
            memcpy(err->option, x->checked.option, sizeof err->option);
    }
    pthread_mutex_unlock(&c->lock);
    return r;
}

/** Tells what the thread knows. */
static inline int outbox_client_keepalive(void *instance, struct outbox_keepalive *ret,
                                          struct outbox_err *err)
{
    struct outbox_client_instance *x = OUTBOX_CAST(struct outbox_client_instance *, instance);
    OUTBOX_CAST(void, err);
    pthread_mutex_lock(&x->client->lock);
    ret->verdict = OUTBOX_ACCEPTED;
    if (!x->client->is_connected && x->client->down.code < 0) {
        snprintf(x->text, sizeof x->text, "%s", x->client->down.text);
        ret->verdict = OUTBOX_UNAVAILABLE;
        ret->reason = outbox_cstr(x->text);
    }
    pthread_mutex_unlock(&x->client->lock);
    return OUTBOX_OK;
}

static inline int outbox_client_submit(void *instance, const struct outbox_message *const *msgs,
                                       uint64_t n, const struct outbox_call *call,
                                       struct outbox_outcome *const *outcomes, uint64_t *ret_n,
                                       struct outbox_err *err)
{
    struct outbox_client_instance *x = OUTBOX_CAST(struct outbox_client_instance *, instance);
    struct outbox_client *c = x->client;
    struct outbox_deadline d;
    int r = OUTBOX_OK;
    *ret_n = 0;
    outbox_deadline_begin(&d, x->host, call);
    if (outbox_deadline_cancelled(&d))
        return outbox_fail(err, OUTBOX_E_CANCELLED, "cancelled before anything was sent");
    pthread_mutex_lock(&c->lock);
    while (*ret_n < n) {
        struct outbox_job *job =
            OUTBOX_CAST(struct outbox_job *, calloc(1, sizeof(struct outbox_job)));
        if (!job) {
            r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
            break;
        }
        job->owner = x;
        job->msg = msgs[*ret_n];
        job->outcome = outcomes[*ret_n];
        job->until_us = d.until_us;
        outbox_jobs_push(&c->queue, job);
        ++*ret_n;
    }
    if (d.until_us < c->earliest_us)
        c->earliest_us = d.until_us;
    eventfd_write(c->wake_fd, 1);
    pthread_mutex_unlock(&c->lock);
    return r;
}

/* Waits for an outcome. Once the host cancels, nothing more of this instance is sent. */
static inline void outbox_client_await(struct outbox_client_instance *x, struct outbox_deadline *d)
{
    struct outbox_client *c = x->client;
    int64_t left_ms;
    pthread_mutex_lock(&c->lock);
    left_ms = c->earliest_us == INT64_MAX ? INT32_MAX
                                          : (c->earliest_us - outbox_client_now_us(c)) / 1000 + 1;
    pthread_mutex_unlock(&c->lock);
    if (left_ms < outbox_deadline_left_ms(d))
        outbox_deadline_shorten(d, left_ms);
    if (outbox_wait(d, x->ready_fd, POLLIN, 0) != OUTBOX_E_CANCELLED)
        return;
    pthread_mutex_lock(&c->lock);
    outbox_jobs_give_back(c, &c->queue, x);
    pthread_mutex_unlock(&c->lock);
    outbox_wait(d, x->ready_fd, POLLIN, 1);
}

/* A failure is told before the outcomes that it has left unset. */
static inline int outbox_client_take_done(struct outbox_client_instance *x,
                                          struct outbox_jobs *done, struct outbox_err *err)
{
    eventfd_t count;
    if (x->failure.code < 0) {
        int r = outbox_fail(err, x->failure.code, "%s", x->failure.text);
        x->failure.code = OUTBOX_OK;
        return r;
    }
    if (!x->done.first)
        return OUTBOX_OK;
    x->handed =
        OUTBOX_CAST(struct outbox_outcome **, calloc(x->done.n, sizeof(struct outbox_outcome *)));
    if (!x->handed)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    *done = x->done;
    memset(&x->done, 0, sizeof x->done);
    eventfd_read(x->ready_fd, &count);
    return OUTBOX_OK;
}

static inline void outbox_client_hand_out(struct outbox_client_instance *x,
                                          struct outbox_jobs *done, uint64_t *ret_n)
{
    struct outbox_job *next;
    for (struct outbox_job *job = done->first; job; job = next) {
        struct outbox_outcome *outcome = job->outcome;
        next = job->next;
        outcome->verdict = job->verdict;
        outcome->after_ms = job->after_ms;
        if (job->reason)
            outbox_reason(&x->reasons, outcome, job->verdict, "%s", job->reason);
        x->handed[(*ret_n)++] = outcome;
        outbox_job_free(job);
    }
}

static inline int outbox_client_collect(void *instance, const struct outbox_call *call,
                                        struct outbox_outcome *const **ret, uint64_t *ret_n,
                                        struct outbox_err *err)
{
    struct outbox_client_instance *x = OUTBOX_CAST(struct outbox_client_instance *, instance);
    struct outbox_deadline d;
    struct outbox_jobs done;
    int r;
    memset(&done, 0, sizeof done);
    outbox_reasons_clear(&x->reasons);
    free(x->handed);
    x->handed = OUTBOX_NULL;
    *ret_n = 0;
    outbox_deadline_begin(&d, x->host, call);
    outbox_client_await(x, &d);
    pthread_mutex_lock(&x->client->lock);
    outbox_client_expire(x->client); /* the thread may hang */
    r = outbox_client_take_done(x, &done, err);
    pthread_mutex_unlock(&x->client->lock);
    outbox_client_hand_out(x, &done, ret_n);
    *ret = x->handed;
    return r;
}

static inline int32_t outbox_client_ready_fd(void *instance)
{
    return (OUTBOX_CAST(struct outbox_client_instance *, instance))->ready_fd;
}

/** The members of a struct outbox_publisher_ops, in their order. */
#define OUTBOX_CLIENT_OPS                                                                  \
    sizeof(struct outbox_publisher_ops), 0, outbox_client_open_instance,                   \
        outbox_client_close_instance, outbox_client_capabilities, outbox_client_check,     \
        OUTBOX_NULL, outbox_client_keepalive, outbox_client_submit, outbox_client_collect, \
        outbox_client_ready_fd

#ifdef __cplusplus
}
#endif
#endif
