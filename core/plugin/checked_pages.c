/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/checked_pages.h"

#include "base/array.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Returned addresses cost no memory, only room among the addresses. */
#define QUEUED_BYTES ((size_t)256 << 20)
/* Linux allows 65530 areas; each copy with pages of its own takes two. */
#define APART_MAX ((size_t)8192)
#define CHUNK_PAGES 64
#define PACKED_PAGES 64
#define CANARY_BYTE 0xC5

#define NO_SLOT CHECKED_SLOTS

struct checked_chunk {
    struct checked_chunk *next;
    unsigned char *base;
    size_t size, used;
    size_t slot;
};

struct checked_copy {
    unsigned char *p;
    size_t n;
    bool writable;
    uint64_t hash;
};

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t whole_pages(size_t n)
{
    return (n + page_size() - 1) / page_size() * page_size();
}

/* ---- where copies are and were ---- */

void checked_vault_init(struct checked_vault *vault, size_t apart_max)
{
    memset(vault, 0, sizeof *vault);
    vault->apart_max = apart_max;
    pthread_mutex_init(&vault->lock, NULL);
}

/* With the lock. Makes the oldest returned addresses usable again. */
static void forget_oldest(struct checked_vault *vault)
{
    struct checked_slot *slot = &vault->slots[vault->queue[vault->first]];
    size_t size = slot->end - slot->begin;
    void *base = (void *)slot->begin;
    slot->begin = 0;
    munmap(base, size);
    vault->queued_bytes -= size;
    vault->first = (vault->first + 1) % CHECKED_SLOTS;
    vault->n_queued--;
}

void checked_vault_destroy(struct checked_vault *vault)
{
    while (vault->n_queued > 0)
        forget_oldest(vault);
    pthread_mutex_destroy(&vault->lock);
}

const char *checked_vault_rule(const struct checked_vault *vault, const void *address)
{
    uintptr_t at = (uintptr_t)address;
    for (size_t i = 0; i < CHECKED_SLOTS; i++) {
        const struct checked_slot *slot = &vault->slots[i];
        if (slot->begin && at >= slot->begin && at < slot->end)
            return slot->returned ? "borrowed-memory" : "reads-past";
    }
    return NULL;
}

/* NO_SLOT: all are in use, and the chunk is not known by its address. */
static size_t take_slot(struct checked_vault *vault, unsigned char *base, size_t size)
{
    size_t found = NO_SLOT;
    pthread_mutex_lock(&vault->lock);
    if (vault->n_queued > CHECKED_SLOTS / 2)
        forget_oldest(vault);
    for (size_t i = 0; i < CHECKED_SLOTS && found == NO_SLOT; i++) {
        size_t at = (vault->next_slot + i) % CHECKED_SLOTS;
        if (!vault->slots[at].begin)
            found = at;
    }
    if (found != NO_SLOT) {
        struct checked_slot *slot = &vault->slots[found];
        vault->next_slot = (found + 1) % CHECKED_SLOTS;
        slot->returned = false;
        slot->end = (uintptr_t)base + size;
        slot->begin = (uintptr_t)base;
    }
    pthread_mutex_unlock(&vault->lock);
    return found;
}

/* ---- copies ---- */

static bool add_chunk(struct checked_pages *pages, size_t room)
{
    size_t size = CHUNK_PAGES * page_size();
    struct checked_chunk *chunk = calloc(1, sizeof *chunk);
    if (!chunk)
        return false;
    while (size < room)
        size *= 2;
    void *base = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        free(chunk);
        return false;
    }
    *chunk = (struct checked_chunk){.next = pages->chunks,
                                    .base = base,
                                    .size = size,
                                    .slot = take_slot(pages->vault, base, size)};
    pages->chunks = chunk;
    return true;
}

/* So many bytes of whole pages, with one behind them that cannot be touched. */
static unsigned char *take_run(struct checked_pages *pages, size_t n)
{
    size_t room = n + page_size();
    if ((!pages->chunks || pages->chunks->size - pages->chunks->used < room) &&
        !add_chunk(pages, room))
        return NULL;
    struct checked_chunk *chunk = pages->chunks;
    unsigned char *run = chunk->base + chunk->used;
    if (n > 0 && mprotect(run, n, PROT_READ | PROT_WRITE) < 0)
        return NULL;
    chunk->used += room;
    return run;
}

static unsigned char *take_apart(struct checked_pages *pages, size_t n)
{
    size_t room = whole_pages(n);
    unsigned char *run = take_run(pages, room);
    if (!run)
        return NULL;
    pages->n_apart++;
    pages->vault->n_apart++;
    return run + room - n;
}

/* Where there are too many: without what tells of the first byte beyond. */
static unsigned char *take_packed(struct checked_pages *pages, size_t n)
{
    size_t room = (n + 15) / 16 * 16;
    if (!pages->packed || pages->packed_room < room) {
        size_t run = whole_pages(room);
        if (run < PACKED_PAGES * page_size())
            run = PACKED_PAGES * page_size();
        if (!(pages->packed = take_run(pages, run)))
            return NULL;
        pages->packed_room = run;
    }
    unsigned char *p = pages->packed;
    pages->packed += room;
    pages->packed_room -= room;
    return p;
}

void *checked_pages_add(struct checked_pages *pages, const void *from, size_t n, bool writable)
{
    size_t all = n + (writable ? CHECKED_CANARY : 0);
    struct checked_copy *copy = NULL;
    unsigned char *p = NULL;
    if (!pages->failed)
        p = pages->n_apart < pages->vault->apart_max && pages->vault->n_apart < APART_MAX
                ? take_apart(pages, all)
                : take_packed(pages, all);
    if (p)
        copy = array_add(&pages->copies, &pages->n_copies, sizeof *copy);
    if (!copy) {
        pages->failed = true;
        return NULL;
    }
    *copy = (struct checked_copy){.p = p, .n = n, .writable = writable};
    if (from && n > 0)
        memcpy(p, from, n);
    if (writable)
        memset(p + n, CANARY_BYTE, CHECKED_CANARY);
    return p;
}

/* Eight bytes at a time, since payloads may be large. */
static uint64_t hash_of(const unsigned char *p, size_t n)
{
    uint64_t hash = n, word;
    for (; n >= sizeof word; p += sizeof word, n -= sizeof word) {
        memcpy(&word, p, sizeof word);
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 29;
    }
    for (; n > 0; p++, n--)
        hash = (hash ^ *p) * UINT64_C(0x100000001B3);
    return hash;
}

void checked_pages_seal(struct checked_pages *pages)
{
    for (size_t i = 0; i < pages->n_copies; i++)
        if (!pages->copies[i].writable)
            pages->copies[i].hash = hash_of(pages->copies[i].p, pages->copies[i].n);
}

bool checked_pages_unchanged(const struct checked_pages *pages)
{
    for (size_t i = 0; i < pages->n_copies; i++) {
        const struct checked_copy *copy = &pages->copies[i];
        if (!copy->writable && hash_of(copy->p, copy->n) != copy->hash)
            return false;
    }
    return true;
}

bool checked_pages_within(const struct checked_pages *pages)
{
    for (size_t i = 0; i < pages->n_copies; i++)
        for (size_t k = 0; pages->copies[i].writable && k < CHECKED_CANARY; k++)
            if (pages->copies[i].p[pages->copies[i].n + k] != CANARY_BYTE)
                return false;
    return true;
}

/* ---- taking them away ---- */

static void return_chunk(struct checked_vault *vault, const struct checked_chunk *chunk)
{
    if (chunk->slot == NO_SLOT) {
        munmap(chunk->base, chunk->size);
        return;
    }
    vault->slots[chunk->slot].returned = true;
    mprotect(chunk->base, chunk->size, PROT_NONE);
    madvise(chunk->base, chunk->size, MADV_DONTNEED);
    pthread_mutex_lock(&vault->lock);
    vault->queue[(vault->first + vault->n_queued) % CHECKED_SLOTS] = (uint16_t)chunk->slot;
    vault->n_queued++;
    vault->queued_bytes += chunk->size;
    while (vault->queued_bytes > QUEUED_BYTES)
        forget_oldest(vault);
    pthread_mutex_unlock(&vault->lock);
}

void checked_pages_return(struct checked_pages *pages)
{
    for (struct checked_chunk *chunk = pages->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        return_chunk(pages->vault, chunk);
        free(chunk);
    }
    free(pages->copies);
    pages->vault->n_apart -= pages->n_apart;
    *pages = (struct checked_pages){.vault = pages->vault};
}
