/* SPDX-License-Identifier: Apache-2.0 */
#include "common/arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_MIN ((size_t)16 * 1024)

struct arena_block {
    struct arena_block *next;
    size_t size;
    size_t used;
    alignas(max_align_t) unsigned char data[];
};

void *arena_alloc(struct arena *a, size_t n)
{
    const size_t align = alignof(max_align_t);
    if (n > SIZE_MAX - align - sizeof(struct arena_block))
        return NULL;
    n = (n + align - 1) / align * align;
    struct arena_block *b = a->head;
    if (!b || b->size - b->used < n) {
        /* Each new block doubles, so that a batch of any size takes few of them. */
        size_t size = b ? b->size * 2 : BLOCK_MIN;
        if (size < n)
            size = n;
        struct arena_block *fresh = malloc(sizeof *fresh + size);
        if (!fresh)
            return NULL;
        *fresh = (struct arena_block){.next = b, .size = size};
        a->head = b = fresh;
    }
    void *p = b->data + b->used;
    b->used += n;
    return p;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    if (size && n > SIZE_MAX / size)
        return NULL;
    void *p = arena_alloc(a, n * size);
    if (p)
        memset(p, 0, n * size);
    return p;
}

int arena_str(struct arena *a, const void *p, size_t n, struct outbox_str *ret)
{
    *ret = (struct outbox_str){NULL, 0};
    if (!p)
        return OUTBOX_OK;
    char *copy = n < SIZE_MAX ? arena_alloc(a, n + 1) : NULL;
    if (!copy)
        return OUTBOX_E_RETRY;
    memcpy(copy, p, n);
    copy[n] = '\0';
    *ret = (struct outbox_str){copy, n};
    return OUTBOX_OK;
}

void arena_reset(struct arena *a)
{
    struct arena_block *kept = NULL;
    for (struct arena_block *b = a->head, *next; b; b = next) {
        next = b->next;
        if (!kept && b->size <= a->keep) {
            kept = b;
            kept->used = 0;
        } else {
            free(b);
        }
    }
    if (kept)
        kept->next = NULL;
    a->head = kept;
}

void arena_free(struct arena *a)
{
    a->keep = 0;
    arena_reset(a);
}
