/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/count.h"

#include "base/clock.h"
#include "cli/command.h"

#define PAGE 500
/* What may be spent on a progress line. */
#define SHOW_MS 300

int count_rows(struct store *store, const struct outbox_filter *filter, int64_t after,
               int64_t max_ms, uint64_t *ret, bool *ret_cut, struct outbox_err *err)
{
    struct outbox_page *page;
    int64_t end_us = max_ms ? clock_monotonic_us() + max_ms * 1000 : INT64_MAX;
    *ret = 0;
    do {
        struct outbox_call call = store_call(COMMAND_CALL_MS, -1);
        *ret_cut = clock_monotonic_us() >= end_us;
        if (*ret_cut)
            return OUTBOX_OK;
        int r = store_list(store, filter, after, PAGE, &call, &page, err);
        if (r < 0)
            return r;
        *ret += page->n;
        if (page->n > 0)
            after = page->rows[page->n - 1]->message->seq;
    } while (page->n > 0);
    return OUTBOX_OK;
}

void countdown_show(struct countdown *c, struct progress *progress, struct store *store,
                    const struct outbox_filter *filter, int64_t after, uint64_t done)
{
    if (!progress_due(progress))
        return;
    if (!c->counted || (c->at_least && done >= c->total)) {
        uint64_t left = 0;
        int r = count_rows(store, filter, after, SHOW_MS, &left, &c->at_least, NULL);
        c->total = r < 0 ? PROGRESS_UNKNOWN : done + left;
        c->counted = true;
    }
    progress_step(progress, done,
                  c->total == PROGRESS_UNKNOWN ? PROGRESS_UNKNOWN
                  : c->total > done            ? c->total - done
                                               : 0,
                  c->at_least);
}
