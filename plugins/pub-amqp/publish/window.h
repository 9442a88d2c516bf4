/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window.h - the messages that were sent on a channel and are not confirmed yet. Confirms name them
 * by their delivery tag, one or all up to it, in any order; returns name them by their id.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The index of a message whose call is over: no outcome waits for its confirm. */
#define SENT_FORGOTTEN UINT32_MAX

struct sent {
    uint64_t tag;
    uint64_t hash; /* of its id; unique among what is not confirmed */
    int64_t at_us;
    uint32_t index; /* of the message in its call, or SENT_FORGOTTEN */
    uint8_t state;
    bool returned; /* the broker gave it back; its confirm is still to come */
};

struct window {
    struct sent *ring; /* by tag; also the last ones that were confirmed */
    uint32_t *slots;   /* by hash: ring positions + 1 of what is not confirmed */
    uint32_t ring_mask, slot_mask;
    uint32_t limit;
    uint32_t unconfirmed; /* how many */
    uint32_t live;        /* of them, not forgotten */
    uint64_t base, next;  /* tags: nothing below base is unconfirmed; next is the next one's */
};

/* For at most `limit` (1 to 65535) messages. OUTBOX_E_RETRY: no memory. */
int window_init(struct window *w, uint32_t limit);
void window_free(struct window *w);
/* A new channel: tags begin with 1, nothing is unconfirmed. */
void window_reset(struct window *w);

/* Not one more than `limit`, which may be less than that of window_init. */
bool window_has_room(const struct window *w, uint32_t limit);
uint64_t window_hash(const void *id, size_t n);
/* The unconfirmed message with an id of this hash, or NULL. */
struct sent *window_find(const struct window *w, uint64_t hash);
/* There is room and no unconfirmed one of this hash. */
struct sent *window_add(struct window *w, uint32_t index, uint64_t hash, int64_t now_us);

/* Is called for each message that a confirm settles. */
typedef void (*window_settled_fn)(void *ctx, const struct sent *sent, bool ack);
/*
 * A confirm. NULL, or what is wrong with it: a tag that was never sent, or the opposite of an
 * earlier one. One that only repeats what is known changes nothing.
 */
const char *window_confirm(struct window *w, uint64_t tag, bool multiple, bool ack,
                           window_settled_fn settled, void *ctx);

/* The oldest unconfirmed one, or NULL. */
const struct sent *window_oldest(const struct window *w);
/* The call is over: forgets the indexes of what is unconfirmed. */
void window_forget(struct window *w);
/* Counts what is unconfirmed as sent now. */
void window_restart(struct window *w, int64_t now_us);
