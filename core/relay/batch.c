/* SPDX-License-Identifier: Apache-2.0 */
#include "relay/batch.h"

#include "common/utf8.h"

#include <outbox/helpers.h>

#include <assert.h>

#define REASONS_KEEP 4096

void batch_init(struct batch *batch)
{
    *batch = (struct batch){.reasons = ARENA_INIT(REASONS_KEEP), .arrays = ARENA_INIT(0)};
}

void batch_free(struct batch *batch)
{
    arena_free(&batch->arrays);
    arena_free(&batch->reasons);
}

int batch_reserve(struct batch *batch, size_t n)
{
    struct arena *a = &batch->arrays;
    if (n <= batch->size)
        return OUTBOX_OK;
    arena_reset(a);
    batch->size = 0;
    batch->publisher = arena_array(a, n, sizeof *batch->publisher);
    batch->index = arena_array(a, n, sizeof *batch->index);
    batch->msgs = arena_array(a, n, sizeof *batch->msgs);
    batch->outcomes = arena_array(a, n, sizeof *batch->outcomes);
    batch->outcome_ptrs = arena_array(a, n, sizeof *batch->outcome_ptrs);
    batch->items = arena_array(a, n, sizeof *batch->items);
    batch->item_ptrs = arena_array(a, n, sizeof *batch->item_ptrs);
    batch->stale = arena_array(a, n, sizeof *batch->stale);
    if (!batch->publisher || !batch->index || !batch->msgs || !batch->outcomes ||
        !batch->outcome_ptrs || !batch->items || !batch->item_ptrs || !batch->stale)
        return OUTBOX_E_RETRY;
    for (size_t i = 0; i < n; i++) {
        batch->outcome_ptrs[i] = &batch->outcomes[i];
        batch->item_ptrs[i] = &batch->items[i];
    }
    batch->size = n;
    return OUTBOX_OK;
}

/* A publisher's share keeps the batch's order, and stores look messages up by it. */
static bool is_sorted(const struct outbox_batch *claimed)
{
    for (uint32_t i = 1; i < claimed->n; i++)
        if (claimed->messages[i - 1]->seq > claimed->messages[i]->seq)
            return false;
    return true;
}

int batch_take(struct batch *batch, struct outbox_batch *claimed)
{
    assert(is_sorted(claimed));
    batch->claimed = claimed;
    batch_forget_items(batch);
    return batch_reserve(batch, claimed->n);
}

void batch_clear(struct batch *batch)
{
    batch->claimed = NULL;
    batch_forget_items(batch);
    arena_reset(&batch->reasons);
}

void batch_queue(struct batch *batch, uint32_t index, const struct outbox_settle *settle)
{
    struct outbox_settle *item = &batch->items[batch->n_items++];
    *item = *settle;
    item->size = sizeof *item;
    item->index = index;
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

void batch_log(const struct batch *batch, struct log *log, int level, const char *text,
               uint32_t index, const char *publisher, const struct outbox_settle *settle)
{
    const struct outbox_message *msg = batch->claimed->messages[index];
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
