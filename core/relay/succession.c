/* SPDX-License-Identifier: Apache-2.0 */
/*
 * succession.c - one relay after another, with the next configuration and in the same process.
 *
 * The workers of the earlier relay finish the batches that they have and claim no more. Each then
 * leaves the instances of publishers that are kept to the worker of the next relay with its number,
 * closes the rest, and that one begins. So no more workers, and no more connections, are there
 * than before or after, and a slow batch holds up one worker only.
 */
#include "base/clock.h"
#include "relay/worker.h"

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

void relay_hand_over(struct relay *relay, struct relay *next)
{
    for (size_t i = 0; i < next->config->n_publishers; i++)
        if (next->publishers[i].before != ROUTE_NONE)
            relay->publishers[next->publishers[i].before].passed_on = true;
    relay->row_passed = next->row == relay->row;
    pthread_mutex_lock(&relay->next_lock);
    relay->next = next;
    pthread_mutex_unlock(&relay->next_lock);
    relay->draining = true;
    eventfd_write(relay->drain_fd, 1);
    wakeup_close(&relay->wakeup);
}

static void let_begin(struct relay *next, size_t worker)
{
    pthread_mutex_lock(&next->begin_lock);
    next->workers[worker].may_begin = true;
    pthread_cond_broadcast(&next->begin);
    pthread_mutex_unlock(&next->begin_lock);
}

void relay_part(struct relay *relay, struct relay *next)
{
    pthread_mutex_lock(&relay->next_lock);
    relay->next = NULL;
    pthread_mutex_unlock(&relay->next_lock);
    for (size_t i = 0; i < next->config->workers; i++)
        let_begin(next, i);
}

/* ---- the workers ---- */

void succession_await(struct worker *w)
{
    struct relay *relay = w->relay;
    pthread_mutex_lock(&relay->begin_lock);
    while (!w->may_begin && !relay->stopping)
        pthread_cond_wait(&relay->begin, &relay->begin_lock);
    pthread_mutex_unlock(&relay->begin_lock);
}

/* The instances change places with those of the next worker, which were never opened. It may have
 * begun without them: then each keeps its own. */
void succession_pass_on(struct worker *w)
{
    struct relay *relay = w->relay;
    size_t number = (size_t)(w - relay->workers);
    pthread_mutex_lock(&relay->next_lock);
    struct relay *next = relay->next && number < relay->next->config->workers ? relay->next : NULL;
    if (next)
        pthread_mutex_lock(&next->begin_lock);
    bool takes = next && !next->stopping; /* else that worker may have ended already */
    for (size_t i = 0; takes && i < next->config->n_publishers; i++) {
        size_t from = next->publishers[i].before;
        struct publisher **to = &next->workers[number].publishers[i];
        if (from == ROUTE_NONE)
            continue;
        struct publisher *kept = w->publishers[from];
        w->publishers[from] = *to;
        *to = kept;
    }
    if (next)
        pthread_mutex_unlock(&next->begin_lock);
    pthread_mutex_unlock(&relay->next_lock);
}

void succession_end(struct worker *w)
{
    struct relay *relay = w->relay;
    size_t number = (size_t)(w - relay->workers);
    pthread_mutex_lock(&relay->next_lock);
    if (relay->next && number < relay->next->config->workers)
        let_begin(relay->next, number);
    pthread_mutex_unlock(&relay->next_lock);
}

/* ---- for people ---- */

int64_t relay_hold_ms(const struct relay *relay)
{
    return relay->hold_ms;
}

void relay_set_reload(struct relay *relay, struct json_object *reload)
{
    lineage_set_reload(relay->lineage, reload);
    relay->heartbeat_due = true;
}

void relay_describe(struct relay *relay, char *text, size_t cap)
{
    int64_t now_us = clock_monotonic_us();
    const char *closing = relay->opening;
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < relay->config->workers && n < cap; i++) {
        struct worker *w = &relay->workers[i];
        if (w->ended)
            continue;
        struct activity_view view = activity_snapshot(&w->activity);
        bool named = activity_has_publisher(view.step);
        n += (size_t)snprintf(text + n, cap - n, "%sworker %zu %s%s%s since %lld s",
                              n > 0 ? ", " : "", i + 1, activity_verb(view.step), named ? " " : "",
                              named ? relay->config->publishers[view.publisher].name : "",
                              (long long)((now_us - view.since_us) / 1000000));
    }
    if (n == 0 && closing)
        snprintf(text, cap, "closing %s", closing);
}
