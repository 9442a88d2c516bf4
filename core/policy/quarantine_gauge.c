/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/quarantine_gauge.h"

#include "common/utf8.h"

#include <stdio.h>

void quarantine_gauge_init(struct quarantine_gauge *gauge)
{
    *gauge = (struct quarantine_gauge){.n = 0};
    pthread_mutex_init(&gauge->lock, NULL);
}

void quarantine_gauge_destroy(struct quarantine_gauge *gauge)
{
    pthread_mutex_destroy(&gauge->lock);
}

void quarantine_gauge_set(struct quarantine_gauge *gauge, const struct outbox_batch *batch)
{
    bool told = OUTBOX_HAS(batch, quarantine_reason);
    pthread_mutex_lock(&gauge->lock);
    gauge->n = told ? batch->n_quarantined : 0;
    if (gauge->n > 0)
        utf8_clean(batch->quarantine_reason.p, (size_t)batch->quarantine_reason.n, gauge->reason,
                   sizeof gauge->reason);
    pthread_mutex_unlock(&gauge->lock);
}

void quarantine_gauge_add(struct quarantine_gauge *gauge)
{
    pthread_mutex_lock(&gauge->lock);
    gauge->n++;
    pthread_mutex_unlock(&gauge->lock);
}

void quarantine_gauge_max(struct quarantine_gauge *gauge, uint32_t *n, char *reason, size_t cap)
{
    pthread_mutex_lock(&gauge->lock);
    if (gauge->n > *n) {
        *n = gauge->n;
        snprintf(reason, cap, "%s", gauge->reason);
    }
    pthread_mutex_unlock(&gauge->lock);
}
