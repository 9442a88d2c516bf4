/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unrouted_gauge.h - how many unrouted messages are kept. Each is claimed once in a period, so the
 * messages of a whole period are counted. All threads; `lock` protects every field.
 */
#pragma once

#include <pthread.h>
#include <stdint.h>

struct unrouted_gauge {
    pthread_mutex_t lock;
    int64_t period_us;
    int64_t period; /* number of the current one */
    uint64_t current;
    uint64_t previous;
};

void unrouted_gauge_init(struct unrouted_gauge *gauge, int64_t period_ms);
void unrouted_gauge_destroy(struct unrouted_gauge *gauge);
void unrouted_gauge_count(struct unrouted_gauge *gauge);
/* The more complete of the last two periods. */
uint64_t unrouted_gauge_snapshot(struct unrouted_gauge *gauge);
