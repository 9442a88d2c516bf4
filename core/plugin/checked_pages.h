/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checked_pages.h - copies for a plugin to borrow: the first ones of a call end where a page ends,
 * behind which nothing can be touched; and all are taken away together, so that a later use faults.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a plugin may write ends with so many bytes that it may not. */
#define CHECKED_CANARY 64

#define CHECKED_SLOTS 4096

/* Where copies are, and where the last ones were: those addresses stay unused for a while. Any
 * thread. */
struct checked_vault {
    pthread_mutex_t lock;
    struct checked_slot {
        _Atomic uintptr_t begin; /* 0: free */
        _Atomic uintptr_t end;
        _Atomic bool returned;
    } slots[CHECKED_SLOTS];
    uint16_t queue[CHECKED_SLOTS]; /* the returned ones, from the oldest on */
    size_t first, n_queued, queued_bytes;
    size_t next_slot;
    size_t apart_max;
    _Atomic size_t n_apart; /* copies with pages of their own: the kernel limits their number */
};

/* So many copies of a call have pages of their own at most; the others share some. */
void checked_vault_init(struct checked_vault *vault, size_t apart_max);
void checked_vault_destroy(struct checked_vault *vault); /* unmaps what was returned */
/* "borrowed-memory", "reads-past" or NULL. Async-signal-safe. */
const char *checked_vault_rule(const struct checked_vault *vault, const void *address);

/* The copies of one call. Zeroed but for `vault`: none. One thread at a time. */
struct checked_pages {
    struct checked_vault *vault;
    struct checked_chunk *chunks;
    struct checked_copy *copies;
    size_t n_copies;
    size_t n_apart;
    unsigned char *packed; /* the rest of a run for those that have no pages of their own */
    size_t packed_room;
    bool failed; /* no memory */
};

/*
 * A copy of n bytes, or zeroes if `from` is NULL. What is not `writable` must stay as it is;
 * what is has a canary behind it. NULL without memory; `failed` stays set, so that one look at the
 * end will do.
 */
void *checked_pages_add(struct checked_pages *pages, const void *from, size_t n, bool writable);
/* All copies are complete. */
void checked_pages_seal(struct checked_pages *pages);
bool checked_pages_unchanged(const struct checked_pages *pages); /* what is not writable */
bool checked_pages_within(const struct checked_pages *pages);    /* all canaries */
/* Takes all of them away; `pages` is as before the first copy. */
void checked_pages_return(struct checked_pages *pages);
