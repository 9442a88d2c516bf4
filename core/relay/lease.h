/* SPDX-License-Identifier: Apache-2.0 */
/* lease.h - the lease of a worker's batch, which the janitor renews meanwhile. `lock` protects
 * every field. */
#ifndef CORE_RELAY_LEASE_H
#define CORE_RELAY_LEASE_H

#include <outbox/abi.h>

#include <pthread.h>
#include <stdbool.h>

#define LEASE_MAX 128

struct lease {
    pthread_mutex_t lock;
    char text[LEASE_MAX];
    size_t n;         /* 0: nothing to renew */
    int64_t until_us; /* monotonic; as far as known */
};

void lease_init(struct lease *lease);
void lease_destroy(struct lease *lease);

/* The batch that is worked on from now on; text NULL: none, or nothing to renew. */
void lease_set(struct lease *lease, struct outbox_str text, int64_t until_us);
/* Has the batch no lease, or one that lasts still? */
bool lease_is_valid(struct lease *lease);

/* What is to be renewed, copied to `buffer`; p NULL: nothing. */
struct outbox_str lease_copy(struct lease *lease, char buffer[LEASE_MAX]);
/* It was renewed, unless the worker has another one by now. */
void lease_renewed(struct lease *lease, struct outbox_str text, int64_t until_us);

#endif
