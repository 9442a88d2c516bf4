/* SPDX-License-Identifier: Apache-2.0 */
/* count.h - how many rows a person means, and how many of them are left of a long work. */
#ifndef CORE_CLI_COUNT_H
#define CORE_CLI_COUNT_H

#include "cli/progress.h"
#include "plugin/store.h"

/*
 * Counts the rows of a filter behind `after`, page by page, for about max_ms (0: to the end).
 * *ret_cut: there may be more.
 */
int count_rows(struct store *store, const struct outbox_filter *filter, int64_t after,
               int64_t max_ms, uint64_t *ret, bool *ret_cut, struct outbox_err *err);

/* A work that takes rows away from a filter, or moves `after` behind them. Begin with zeros. */
struct countdown {
    bool counted;
    bool at_least;  /* the count was cut short */
    uint64_t total; /* PROGRESS_UNKNOWN: it cannot be counted */
};

/* Shows progress when it is due: counts then, at first and when a count that was cut is used up. */
void countdown_show(struct countdown *countdown, struct progress *progress, struct store *store,
                    const struct outbox_filter *filter, int64_t after, uint64_t done);

#endif
