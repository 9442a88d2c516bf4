/* SPDX-License-Identifier: Apache-2.0 */
#include "publish/window.h"

#include <outbox/abi.h>

#include <stdlib.h>
#include <string.h>

enum { UNUSED, UNCONFIRMED, ACKED, NACKED };

/* A confirm out of order leaves a hole: the ring has room for some of them. */
#define RING_FACTOR 4

static uint32_t power_of_two(uint32_t n)
{
    uint32_t power = 1;
    while (power < n)
        power *= 2;
    return power;
}

int window_init(struct window *w, uint32_t limit)
{
    uint32_t ring = power_of_two(limit * RING_FACTOR), slots = power_of_two(limit * 4);
    *w = (struct window){.limit = limit, .ring_mask = ring - 1, .slot_mask = slots - 1};
    w->ring = calloc(ring, sizeof *w->ring);
    w->slots = calloc(slots, sizeof *w->slots);
    if (!w->ring || !w->slots) {
        window_free(w);
        return OUTBOX_E_RETRY;
    }
    window_reset(w);
    return OUTBOX_OK;
}

void window_free(struct window *w)
{
    free(w->ring);
    free(w->slots);
    *w = (struct window){0};
}

void window_reset(struct window *w)
{
    memset(w->ring, 0, ((size_t)w->ring_mask + 1) * sizeof *w->ring);
    memset(w->slots, 0, ((size_t)w->slot_mask + 1) * sizeof *w->slots);
    w->unconfirmed = w->live = 0;
    w->base = w->next = 1;
}

static struct sent *at(const struct window *w, uint64_t tag)
{
    return &w->ring[tag & w->ring_mask];
}

bool window_has_room(const struct window *w, uint32_t limit)
{
    return w->unconfirmed < limit && w->unconfirmed < w->limit && w->next - w->base <= w->ring_mask;
}

/* ---- by id ---- */

uint64_t window_hash(const void *id, size_t n)
{
    const unsigned char *p = id;
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * 0x100000001B3u;
    return hash ^ hash >> 29;
}

/* Its slot, or the free one where it would be. */
static uint32_t slot_of(const struct window *w, uint64_t hash)
{
    uint32_t i = (uint32_t)hash & w->slot_mask;
    while (w->slots[i] && w->ring[w->slots[i] - 1].hash != hash)
        i = (i + 1) & w->slot_mask;
    return i;
}

struct sent *window_find(const struct window *w, uint64_t hash)
{
    uint32_t slot = w->slots[slot_of(w, hash)];
    return slot ? &w->ring[slot - 1] : NULL;
}

/* Frees a slot; those behind it that it was in the way of move up. */
static void clear_slot(struct window *w, uint64_t hash)
{
    uint32_t hole = slot_of(w, hash);
    w->slots[hole] = 0;
    for (uint32_t i = (hole + 1) & w->slot_mask; w->slots[i]; i = (i + 1) & w->slot_mask) {
        uint32_t wanted = (uint32_t)w->ring[w->slots[i] - 1].hash & w->slot_mask;
        if (((i - wanted) & w->slot_mask) >= ((i - hole) & w->slot_mask)) {
            w->slots[hole] = w->slots[i];
            w->slots[i] = 0;
            hole = i;
        }
    }
}

struct sent *window_add(struct window *w, uint32_t index, uint64_t hash, int64_t now_us)
{
    struct sent *sent = at(w, w->next);
    *sent = (struct sent){
        .tag = w->next++, .hash = hash, .at_us = now_us, .index = index, .state = UNCONFIRMED};
    w->slots[slot_of(w, hash)] = (uint32_t)(sent - w->ring) + 1;
    w->unconfirmed++;
    w->live++;
    return sent;
}

/* ---- confirms ---- */

static void settle(struct window *w, struct sent *sent, bool ack, window_settled_fn settled,
                   void *ctx)
{
    sent->state = ack ? ACKED : NACKED;
    clear_slot(w, sent->hash);
    w->unconfirmed--;
    if (sent->index == SENT_FORGOTTEN)
        return;
    w->live--;
    settled(ctx, sent, ack);
}

static void move_base(struct window *w)
{
    while (w->base < w->next && at(w, w->base)->state != UNCONFIRMED)
        w->base++;
}

const char *window_confirm(struct window *w, uint64_t tag, bool multiple, bool ack,
                           window_settled_fn settled, void *ctx)
{
    if (tag == 0 && multiple)
        tag = w->next - 1; /* all of them */
    else if (tag == 0 || tag >= w->next)
        return "a confirm for a message that was never sent";
    struct sent *sent = at(w, tag);
    if (multiple) {
        for (uint64_t i = w->base; i <= tag; i++)
            if (at(w, i)->state == UNCONFIRMED)
                settle(w, at(w, i), ack, settled, ctx);
    } else if (sent->tag == tag && sent->state == UNCONFIRMED) {
        settle(w, sent, ack, settled, ctx);
    } else if (sent->tag == tag && (sent->state == ACKED) != ack) {
        return "a confirm that contradicts an earlier one";
    }
    move_base(w);
    return NULL;
}

/* ---- the rest ---- */

const struct sent *window_oldest(const struct window *w)
{
    return w->unconfirmed > 0 ? at(w, w->base) : NULL;
}

void window_forget(struct window *w)
{
    for (uint64_t tag = w->base; w->live > 0 && tag < w->next; tag++) {
        struct sent *sent = at(w, tag);
        if (sent->state != UNCONFIRMED || sent->index == SENT_FORGOTTEN)
            continue;
        sent->index = SENT_FORGOTTEN;
        w->live--;
    }
}

void window_restart(struct window *w, int64_t now_us)
{
    for (uint64_t tag = w->base; tag < w->next; tag++)
        at(w, tag)->at_us = now_us;
}
