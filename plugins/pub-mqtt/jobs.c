/* SPDX-License-Identifier: Apache-2.0 */
/* jobs.c - the lists of messages that are on their way. */
#include "mqtt.h"

#include <sys/eventfd.h>

void jobs_push(struct jobs *jobs, struct job *job)
{
    job->next = NULL;
    job->prev = jobs->last;
    if (jobs->last)
        jobs->last->next = job;
    else
        jobs->first = job;
    jobs->last = job;
    jobs->n++;
}

void jobs_remove(struct jobs *jobs, struct job *job)
{
    if (job->prev)
        job->prev->next = job->next;
    else
        jobs->first = job->next;
    if (job->next)
        job->next->prev = job->prev;
    else
        jobs->last = job->prev;
    jobs->n--;
}

struct job *jobs_pop(struct jobs *jobs)
{
    struct job *job = jobs->first;
    if (job)
        jobs_remove(jobs, job);
    return job;
}

void jobs_free(struct job *job)
{
    free(job->reason);
    free(job);
}

void jobs_done(struct jobs *from, struct job *job, uint32_t verdict, uint32_t after_ms,
               const char *reason, ...)
{
    struct instance *x = job->owner;
    char text[1024];
    va_list ap;
    if (reason) {
        va_start(ap, reason);
        vsnprintf(text, sizeof text, reason, ap);
        va_end(ap);
        job->reason = strdup(text); /* NULL: one without a reason */
    }
    jobs_remove(from, job);
    job->verdict = verdict;
    job->after_ms = after_ms;
    x->open--;
    if (!x->done.first)
        eventfd_write(x->ready, 1);
    jobs_push(&x->done, job);
}

static void expire(struct client *c, struct jobs *jobs, int64_t now)
{
    struct job *next;
    for (struct job *job = jobs->first; job; job = next) {
        next = job->next;
        if (job->until_us <= now)
            jobs_done(jobs, job, OUTBOX_UNSET, 0, NULL);
        else if (job->until_us < c->earliest_us)
            c->earliest_us = job->until_us;
    }
}

void jobs_expire(struct client *c)
{
    int64_t now = client_now_us(c);
    if (now < c->earliest_us)
        return;
    c->earliest_us = INT64_MAX;
    expire(c, &c->queue, now);
    expire(c, &c->sent, now);
}

void jobs_give_back(struct jobs *from, const struct instance *owner)
{
    struct job *next;
    for (struct job *job = from->first; job; job = next) {
        next = job->next;
        if (!owner || job->owner == owner)
            jobs_done(from, job, OUTBOX_UNSET, 0, NULL);
    }
}

void jobs_fail(struct jobs *from, const struct outbox_err *err)
{
    for (struct job *job = from->first; job; job = job->next)
        job->owner->failure = *err;
    jobs_give_back(from, NULL);
}
