/* SPDX-License-Identifier: Apache-2.0 */
/* arena.h - memory that is freed all at once, and reused by the next batch. */
#pragma once

#include <outbox/abi.h>

struct arena_block;

struct arena {
    struct arena_block *head;
    size_t keep; /* bytes that arena_reset holds on to */
};

#define ARENA_INIT(keep_bytes) \
    {                          \
        NULL, (keep_bytes)     \
    }

/* Aligned for any object; NULL without memory. */
void *arena_alloc(struct arena *a, size_t n);
/* n objects of a size, checked for overflow, zeroed. */
void *arena_array(struct arena *a, size_t n, size_t size);
/* A copy with a NUL behind it; p NULL gives NULL with n 0. OUTBOX_E_RETRY, and NULL too, without
 * memory. */
int arena_str(struct arena *a, const void *p, size_t n, struct outbox_str *ret);
/* Forgets everything; keeps up to `keep` bytes for the next use. */
void arena_reset(struct arena *a);
void arena_free(struct arena *a);
