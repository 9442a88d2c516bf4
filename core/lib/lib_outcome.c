/* SPDX-License-Identifier: Apache-2.0 */
/* lib_outcome.c - liboutbox: outcomes that own the text of their reason. */
#include "lib/liboutbox.h"

#include <outbox/helpers.h>

#include <stdlib.h>

/* Plugins leave `reserved` alone and applications zero it, so that no outcome of theirs has it. */
#define MARK 0x6f757462u

/* NULL: it has no memory for a reason. */
static struct lib_outcome *ours(struct outbox_outcome *outcome)
{
    return outcome->reserved == MARK ? (struct lib_outcome *)(void *)outcome : NULL;
}

static void unset(struct lib_outcome *outcome)
{
    free(outcome->text);
    *outcome = (struct lib_outcome){.abi = {.size = sizeof outcome->abi, .reserved = MARK}};
}

/* ---- arrays of them ---- */

static bool grow(struct lib_outcomes *outcomes, size_t n)
{
    struct lib_outcome *all = calloc(n, sizeof *all);
    struct outbox_outcome **ptrs = calloc(n, sizeof *ptrs);
    if (!all || !ptrs) {
        free(all);
        free(ptrs);
        return false;
    }
    lib_outcomes_clear(outcomes);
    *outcomes = (struct lib_outcomes){.size = n, .all = all, .ptrs = ptrs};
    for (size_t i = 0; i < n; i++)
        ptrs[i] = &all[i].abi;
    return true;
}

bool lib_outcomes_begin(struct lib_outcomes *outcomes, uint64_t n)
{
    if (n > outcomes->size && !grow(outcomes, (size_t)n))
        return false;
    for (size_t i = 0; i < outcomes->size; i++)
        unset(&outcomes->all[i]);
    return true;
}

void lib_outcomes_clear(struct lib_outcomes *outcomes)
{
    for (size_t i = 0; i < outcomes->size; i++)
        free(outcomes->all[i].text);
    free(outcomes->all);
    free(outcomes->ptrs);
    *outcomes = (struct lib_outcomes){.size = 0};
}

/* The application gets a pointer behind its head, where the pointers are. */
struct block {
    uint64_t n;
    struct lib_outcome *all;
    struct outbox_outcome *ptrs[];
};

OUTBOX_EXPORT struct outbox_outcome **outbox_outcomes_new(uint64_t n)
{
    struct block *block = n < SIZE_MAX / sizeof(struct lib_outcome) / 2
                              ? calloc(1, sizeof *block + n * sizeof block->ptrs[0])
                              : NULL;
    if (!block || !(block->all = calloc(n + 1, sizeof *block->all))) {
        free(block);
        return NULL;
    }
    block->n = n;
    for (uint64_t i = 0; i < n; i++) {
        unset(&block->all[i]);
        block->ptrs[i] = &block->all[i].abi;
    }
    return block->ptrs;
}

OUTBOX_EXPORT void outbox_outcomes_free(struct outbox_outcome **outcomes)
{
    if (!outcomes)
        return;
    struct block *block = (struct block *)(void *)((char *)outcomes - offsetof(struct block, ptrs));
    for (uint64_t i = 0; i < block->n; i++)
        free(block->all[i].text);
    free(block->all);
    free(block);
}

/* ---- setting them ---- */

static OUTBOX_PRINTF(3, 0) void set(struct outbox_outcome *outcome, uint32_t verdict,
                                    const char *fmt, va_list ap)
{
    struct lib_outcome *to = ours(outcome);
    char *text = NULL;
    outcome->verdict = verdict;
    outcome->reason = (struct outbox_str){NULL, 0};
    if (!to)
        return;
    if (fmt && vasprintf(&text, fmt, ap) < 0) {
        text = NULL;
        outcome->reason = outbox_cstr("out of memory for the reason");
    }
    free(to->text); /* now, since it may be an argument */
    to->text = text;
    if (text)
        outcome->reason = outbox_cstr(text);
}

OUTBOX_EXPORT void outbox_outcome_set(struct outbox_outcome *outcome, uint32_t verdict,
                                      const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set(outcome, verdict, fmt, ap);
    va_end(ap);
}

OUTBOX_EXPORT int outbox_outcome_set_rest(struct outbox_outcome *const *outcomes, uint64_t n,
                                          uint32_t verdict, const char *fmt, ...)
{
    for (uint64_t i = 0; i < n; i++) {
        va_list ap;
        if (outcomes[i]->verdict != OUTBOX_UNSET)
            continue;
        va_start(ap, fmt);
        set(outcomes[i], verdict, fmt, ap);
        va_end(ap);
    }
    return OUTBOX_OK;
}
