/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/unrouted_gauge.h"

#include "base/clock.h"

#include <string.h>

void unrouted_gauge_init(struct unrouted_gauge *held, int64_t period_ms)
{
    memset(held, 0, sizeof *held);
    pthread_mutex_init(&held->lock, NULL);
    held->period_us = period_ms * 1000;
}

void unrouted_gauge_destroy(struct unrouted_gauge *held)
{
    pthread_mutex_destroy(&held->lock);
}

static void turn_over(struct unrouted_gauge *held)
{
    int64_t period = clock_monotonic_us() / held->period_us;
    if (period == held->period)
        return;
    held->previous = period == held->period + 1 ? held->current : 0;
    held->current = 0;
    held->period = period;
}

void unrouted_gauge_count(struct unrouted_gauge *held)
{
    pthread_mutex_lock(&held->lock);
    turn_over(held);
    held->current++;
    pthread_mutex_unlock(&held->lock);
}

uint64_t unrouted_gauge_snapshot(struct unrouted_gauge *held)
{
    pthread_mutex_lock(&held->lock);
    turn_over(held);
    uint64_t n = held->current > held->previous ? held->current : held->previous;
    pthread_mutex_unlock(&held->lock);
    return n;
}
