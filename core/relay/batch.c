/* SPDX-License-Identifier: Apache-2.0 */
#include "relay/batch.h"

#include "common/utf8.h"

#include "base/clock.h"

#include <outbox/helpers.h>

#include <string.h>

#define REASONS_KEEP 4096

int batch_init(struct batch *batch, size_t size)
{
    *batch =
        (struct batch){.size = size, .reasons = ARENA_INIT(REASONS_KEEP), .arrays = ARENA_INIT(0)};
    struct arena *a = &batch->arrays;
    pthread_mutex_init(&batch->lease.lock, NULL);
    batch->publisher = arena_array(a, size, sizeof *batch->publisher);
    batch->index = arena_array(a, size, sizeof *batch->index);
    batch->msgs = arena_array(a, size, sizeof *batch->msgs);
    batch->outcomes = arena_array(a, size, sizeof *batch->outcomes);
    batch->outcome_ptrs = arena_array(a, size, sizeof *batch->outcome_ptrs);
    batch->in_flight = arena_array(a, size, sizeof *batch->in_flight);
    batch->collected = arena_array(a, size, sizeof *batch->collected);
    batch->items = arena_array(a, size, sizeof *batch->items);
    batch->item_ptrs = arena_array(a, size, sizeof *batch->item_ptrs);
    batch->item_publishers = arena_array(a, size, sizeof *batch->item_publishers);
    batch->settled = arena_array(a, size, sizeof *batch->settled);
    if (!batch->publisher || !batch->index || !batch->msgs || !batch->outcomes ||
        !batch->outcome_ptrs || !batch->in_flight || !batch->collected || !batch->items ||
        !batch->item_ptrs || !batch->item_publishers || !batch->settled)
        return OUTBOX_E_RETRY;
    for (size_t i = 0; i < size; i++)
        batch->item_ptrs[i] = &batch->items[i];
    return OUTBOX_OK;
}

void batch_free(struct batch *batch)
{
    arena_free(&batch->arrays);
    arena_free(&batch->reasons);
    pthread_mutex_destroy(&batch->lease.lock);
}

/* A publisher's share keeps the batch's order, and stores look messages up by it. */
int batch_take(struct batch *batch, struct outbox_batch *claimed)
{
    batch->claimed = claimed;
    if (claimed->n > batch->size)
        return OUTBOX_E_BROKEN;
    for (uint32_t i = 1; i < claimed->n; i++)
        if (claimed->messages[i - 1]->seq > claimed->messages[i]->seq)
            return OUTBOX_E_BROKEN;
    return OUTBOX_OK;
}

void batch_clear(struct batch *batch)
{
    batch->claimed = NULL;
    batch->cut_short = batch->hurried = batch->left = false;
    batch->state = BATCH_OPEN;
    batch->submitted_us = batch->expected_us = 0;
    batch_forget_items(batch);
    arena_reset(&batch->reasons);
}

void batch_raise(struct batch *batch, enum batch_state state)
{
    if (state > batch->state)
        batch->state = state;
}

void batch_queue(struct batch *batch, uint32_t index, size_t publisher,
                 const struct outbox_settle *settle)
{
    batch->item_publishers[batch->n_items] = publisher;
    struct outbox_settle *item = &batch->items[batch->n_items++];
    *item = *settle;
    item->size = sizeof *item;
    item->index = index;
}

void batch_log_queued(const struct batch *batch, struct log *log, int level, const char *text,
                      const char *publisher)
{
    const struct outbox_settle *settle = &batch->items[batch->n_items - 1];
    const struct outbox_message *msg = batch->claimed->messages[settle->index];
    char id[64], topic[128], reason[512];
    if (!log_enabled(log, level))
        return;
    utf8_clean(msg->row_id.p, (size_t)msg->row_id.n, id, sizeof id);
    utf8_clean(msg->topic.p, (size_t)msg->topic.n, topic, sizeof topic);
    utf8_clean(settle->reason.p, (size_t)settle->reason.n, reason, sizeof reason);
    log_event(log, level, text, "id", id, "topic", topic, "publisher", publisher, "retries",
              LOG_NUM((int64_t)msg->retries + ((settle->flags & OUTBOX_SETTLE_CHARGE) != 0)),
              "reason", reason, NULL);
}

void batch_keep_reasons(struct batch *batch)
{
    for (; batch->n_kept < batch->n_items; batch->n_kept++) {
        struct outbox_str *reason = &batch->items[batch->n_kept].reason;
        if (reason->p && arena_str(&batch->reasons, reason->p, (size_t)reason->n, reason) < 0)
            *reason = outbox_cstr("out of memory for the reason");
    }
}

void batch_forget_items(struct batch *batch)
{
    batch->n_items = batch->n_kept = 0;
    batch->deferred_ms = 0;
}

/* ---- the lease ---- */

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
