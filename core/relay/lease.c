/* SPDX-License-Identifier: Apache-2.0 */
#include "relay/lease.h"

#include "base/clock.h"

#include <outbox/helpers.h>

#include <string.h>

void lease_init(struct lease *lease)
{
    *lease = (struct lease){.n = 0};
    pthread_mutex_init(&lease->lock, NULL);
}

void lease_destroy(struct lease *lease)
{
    pthread_mutex_destroy(&lease->lock);
}

void lease_set(struct lease *lease, struct outbox_str text, int64_t until_us)
{
    pthread_mutex_lock(&lease->lock);
    lease->n = 0;
    if (text.p && text.n <= sizeof lease->text) {
        memcpy(lease->text, text.p, (size_t)text.n);
        lease->n = (size_t)text.n;
    }
    lease->until_us = until_us;
    pthread_mutex_unlock(&lease->lock);
}

bool lease_is_valid(struct lease *lease)
{
    pthread_mutex_lock(&lease->lock);
    bool valid = lease->n == 0 || clock_monotonic_us() < lease->until_us;
    pthread_mutex_unlock(&lease->lock);
    return valid;
}

struct outbox_str lease_copy(struct lease *lease, char buffer[LEASE_MAX])
{
    pthread_mutex_lock(&lease->lock);
    size_t n = lease->n;
    memcpy(buffer, lease->text, n);
    pthread_mutex_unlock(&lease->lock);
    return (struct outbox_str){n > 0 ? buffer : NULL, n};
}

void lease_renewed(struct lease *lease, struct outbox_str text, int64_t until_us)
{
    pthread_mutex_lock(&lease->lock);
    if (outbox_str_eq((struct outbox_str){lease->text, lease->n}, text))
        lease->until_us = until_us;
    pthread_mutex_unlock(&lease->lock);
}
