/* SPDX-License-Identifier: Apache-2.0 */
/* unrouted_gauge.h - how many unrouted messages are held: each comes by once in a period. */
#ifndef CORE_POLICY_UNROUTED_GAUGE_H
#define CORE_POLICY_UNROUTED_GAUGE_H

#include <pthread.h>
#include <stdint.h>

struct held_gauge {
    pthread_mutex_t lock;
    int64_t period_us;
    int64_t period; /* number of the current one */
    uint64_t current;
    uint64_t previous;
};

void held_init(struct held_gauge *held, int64_t period_ms);
void held_destroy(struct held_gauge *held);
void held_count(struct held_gauge *held);
/* The more complete of the last two periods. */
uint64_t held_look(struct held_gauge *held);

#endif
