/* SPDX-License-Identifier: Apache-2.0 */
/* batch.c - the arrays through which a batch passes, made once and reused. */
#include "relay/context.h"

#include <stdlib.h>
#include <string.h>

static void free_arrays(struct batch *desk)
{
    free(desk->publisher);
    free(desk->index);
    free(desk->msgs);
    free(desk->outcomes);
    free(desk->outcome_ptrs);
    free(desk->items);
    free(desk->item_ptrs);
    free(desk->stale);
    desk->size = 0;
}

static int grow(struct batch *desk, size_t n)
{
    free_arrays(desk);
    desk->publisher = calloc(n, sizeof *desk->publisher);
    desk->index = calloc(n, sizeof *desk->index);
    desk->msgs = calloc(n, sizeof *desk->msgs);
    desk->outcomes = calloc(n, sizeof *desk->outcomes);
    desk->outcome_ptrs = calloc(n, sizeof *desk->outcome_ptrs);
    desk->items = calloc(n, sizeof *desk->items);
    desk->item_ptrs = calloc(n, sizeof *desk->item_ptrs);
    desk->stale = calloc(n, sizeof *desk->stale);
    if (!desk->publisher || !desk->index || !desk->msgs || !desk->outcomes || !desk->outcome_ptrs ||
        !desk->items || !desk->item_ptrs || !desk->stale)
        return -1;
    for (size_t i = 0; i < n; i++) {
        desk->outcome_ptrs[i] = &desk->outcomes[i];
        desk->item_ptrs[i] = &desk->items[i];
    }
    desk->size = n;
    return 0;
}

int batch_reserve(struct batch *desk, size_t n)
{
    return n > desk->size ? grow(desk, n) : 0;
}

int batch_take(struct batch *desk, struct outbox_batch *batch)
{
    desk->batch = batch;
    desk->n_items = desk->n_kept = 0;
    return batch_reserve(desk, batch->n);
}

void batch_clear(struct batch *desk)
{
    desk->batch = NULL;
    desk->n_items = desk->n_kept = 0;
    arena_reset(&desk->reasons);
}

void batch_free(struct batch *desk)
{
    free_arrays(desk);
    arena_free(&desk->reasons);
}

struct outbox_settle *batch_item(struct batch *desk, uint32_t index)
{
    struct outbox_settle *item = &desk->items[desk->n_items++];
    *item = (struct outbox_settle){.size = sizeof *item, .index = index};
    return item;
}
