/* SPDX-License-Identifier: Apache-2.0 */
/* quarantine_gauge.h - how many rows one store instance has in quarantine, and why the last one.
 * Its worker writes it, all threads read it; `lock` protects every field. */
#pragma once

#include <outbox/store.h>

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct quarantine_gauge {
    pthread_mutex_t lock;
    uint32_t n;
    char reason[256];
};

void quarantine_gauge_init(struct quarantine_gauge *gauge);
void quarantine_gauge_destroy(struct quarantine_gauge *gauge);

/* What a claim says. */
void quarantine_gauge_set(struct quarantine_gauge *gauge, const struct outbox_batch *batch);
/* One more, until the next claim says how many. */
void quarantine_gauge_add(struct quarantine_gauge *gauge);

/* The reason (not NULL) is copied if there are more than *n, which becomes their number. Each
 * worker meets all rows in time, so that the largest number is the best one. */
void quarantine_gauge_max(struct quarantine_gauge *gauge, uint32_t *n, char *reason, size_t cap);
