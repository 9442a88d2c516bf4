/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/unrouted_gauge.h"

#include "base/clock.h"

void unrouted_gauge_init(struct unrouted_gauge *gauge, int64_t period_ms)
{
    *gauge = (struct unrouted_gauge){.period_us = period_ms * 1000};
    pthread_mutex_init(&gauge->lock, NULL);
}

void unrouted_gauge_destroy(struct unrouted_gauge *gauge)
{
    pthread_mutex_destroy(&gauge->lock);
}

static void begin_period(struct unrouted_gauge *gauge)
{
    int64_t period = clock_monotonic_us() / gauge->period_us;
    if (period == gauge->period)
        return;
    gauge->previous = period == gauge->period + 1 ? gauge->current : 0;
    gauge->current = 0;
    gauge->period = period;
}

void unrouted_gauge_count(struct unrouted_gauge *gauge)
{
    pthread_mutex_lock(&gauge->lock);
    begin_period(gauge);
    gauge->current++;
    pthread_mutex_unlock(&gauge->lock);
}

uint64_t unrouted_gauge_snapshot(struct unrouted_gauge *gauge)
{
    pthread_mutex_lock(&gauge->lock);
    begin_period(gauge);
    uint64_t n = gauge->current > gauge->previous ? gauge->current : gauge->previous;
    pthread_mutex_unlock(&gauge->lock);
    return n;
}
