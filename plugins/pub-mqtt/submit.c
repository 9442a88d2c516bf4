/* SPDX-License-Identifier: Apache-2.0 */
/* submit.c - what a worker hands to the client's thread, and takes back. */
#include "mqtt.h"

#include <outbox/wait.h>
#include <sys/eventfd.h>

int submit_begin(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                 const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                 uint64_t *ret_n, struct outbox_err *err)
{
    struct instance *x = instance;
    struct client *c = x->client;
    struct outbox_deadline d;
    int r = OUTBOX_OK;
    *ret_n = 0;
    outbox_deadline_begin(&d, x->host, call);
    if (outbox_deadline_cancelled(&d))
        return outbox_fail(err, OUTBOX_E_CANCELLED, "cancelled before anything was sent");
    pthread_mutex_lock(&c->lock);
    while (*ret_n < n) {
        struct job *job = calloc(1, sizeof *job);
        if (!job) {
            r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
            break;
        }
        job->owner = x;
        job->msg = msgs[*ret_n];
        job->outcome = outcomes[*ret_n];
        job->until_us = d.until_us;
        jobs_push(&c->queue, job);
        x->open++;
        ++*ret_n;
    }
    if (d.until_us < c->earliest_us)
        c->earliest_us = d.until_us;
    eventfd_write(c->wake, 1);
    pthread_mutex_unlock(&c->lock);
    return r;
}

/* Waits for an outcome. Once the host cancels, nothing more of this instance is sent. */
static void await(struct instance *x, struct outbox_deadline *d)
{
    struct client *c = x->client;
    int64_t left_ms;
    int r;
    pthread_mutex_lock(&c->lock);
    left_ms = (c->earliest_us - client_now_us(c)) / 1000 + 1;
    pthread_mutex_unlock(&c->lock);
    if (left_ms < outbox_deadline_left_ms(d))
        outbox_deadline_shorten(d, left_ms);
    r = outbox_wait(d, x->ready, POLLIN, 0);
    if (r == OUTBOX_E_CANCELLED) {
        pthread_mutex_lock(&c->lock);
        jobs_give_back(&c->queue, x);
        pthread_mutex_unlock(&c->lock);
        outbox_wait(d, x->ready, POLLIN, 1);
    }
}

static void hand_out(struct instance *x, struct jobs *done, uint64_t *ret_n)
{
    struct job *job;
    while ((job = jobs_pop(done)) != NULL) {
        struct outbox_outcome *outcome = job->outcome;
        outcome->verdict = job->verdict;
        outcome->after_ms = job->after_ms;
        if (job->reason)
            outbox_reason(&x->reasons, outcome, job->verdict, "%s", job->reason);
        x->handed[(*ret_n)++] = outcome;
        jobs_free(job);
    }
}

/* A failure is told before the outcomes that it has left unset. */
static int take_done(struct instance *x, struct jobs *done, struct outbox_err *err)
{
    eventfd_t count;
    memset(done, 0, sizeof *done);
    if (x->failure.code < 0) {
        int r = outbox_fail(err, x->failure.code, "%s", x->failure.text);
        x->failure.code = 0;
        return r;
    }
    if (!x->done.first)
        return OUTBOX_OK;
    x->handed = calloc((size_t)x->done.n, sizeof(struct outbox_outcome *));
    if (!x->handed)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    *done = x->done;
    memset(&x->done, 0, sizeof x->done);
    eventfd_read(x->ready, &count);
    return OUTBOX_OK;
}

int submit_collect(void *instance, const struct outbox_call *call,
                   struct outbox_outcome *const **ret, uint64_t *ret_n, struct outbox_err *err)
{
    struct instance *x = instance;
    struct outbox_deadline d;
    struct jobs done;
    int r;
    outbox_reasons_clear(&x->reasons);
    free(x->handed);
    x->handed = NULL;
    *ret_n = 0;
    outbox_deadline_begin(&d, x->host, call);
    await(x, &d);
    pthread_mutex_lock(&x->client->lock);
    jobs_expire(x->client); /* the thread may be looking up a name */
    r = take_done(x, &done, err);
    pthread_mutex_unlock(&x->client->lock);
    hand_out(x, &done, ret_n);
    *ret = x->handed;
    return r;
}
