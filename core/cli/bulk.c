/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include "base/clock.h"
#include "cli/command.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

/* Rows of a page or a batch: so few that producers hardly notice. */
#define BATCH 500
/* What counting may take for a progress line. */
#define COUNT_MS 300

/* Counts the rows behind `after`, for about max_ms (0: to the end). *ret_at_least: there may be
 * more. */
static int count_rows(struct store *store, const struct outbox_filter *filter, int64_t after,
                      int64_t max_ms, uint64_t *ret, bool *ret_at_least, struct outbox_err *err)
{
    struct outbox_page *page;
    int64_t end_us = max_ms ? clock_monotonic_us() + max_ms * 1000 : INT64_MAX;
    *ret = 0;
    do {
        *ret_at_least = clock_monotonic_us() >= end_us;
        if (*ret_at_least)
            return OUTBOX_OK;
        int r = command_next_page(store, filter, &after, BATCH, &page, err);
        if (r < 0)
            return r;
        *ret += page->n;
    } while (page->n > 0);
    return OUTBOX_OK;
}

/* How many rows there are in all, as far as it was counted. */
struct total {
    bool at_least; /* true at first */
    uint64_t n;    /* PROGRESS_UNKNOWN: they cannot be counted */
};

/* Counting costs more than one batch. So it is done only when a line is due, and again only when
 * more rows are done than an incomplete count found. */
static void show_progress(struct progress *progress, struct total *total, struct store *store,
                          const struct outbox_filter *filter, int64_t after, uint64_t done)
{
    if (!progress_due(progress))
        return;
    if (total->at_least && done >= total->n) {
        uint64_t left = 0;
        int r = count_rows(store, filter, after, COUNT_MS, &left, &total->at_least, NULL);
        total->n = r < 0 ? PROGRESS_UNKNOWN : done + left;
    }
    uint64_t left = total->n > done ? total->n - done : 0;
    progress_step(progress, done, total->n == PROGRESS_UNKNOWN ? PROGRESS_UNKNOWN : left,
                  total->at_least);
}

/* Sleeps half the time that a batch took, so that producers that wait for the database get it. */
static void throttle(int64_t began_us)
{
    int64_t us = (clock_monotonic_us() - began_us) / 2;
    const struct timespec pause = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    nanosleep(&pause, NULL);
}

static int change_all(const struct bulk *bulk, struct store *store,
                      const struct outbox_filter *filter, uint64_t *ret, struct outbox_err *err)
{
    struct progress progress;
    struct total total = {.at_least = true};
    int64_t after = COMMAND_FROM_FIRST;
    uint64_t n = 0;
    int r;
    *ret = 0;
    progress_begin(&progress, bulk->name);
    do {
        struct outbox_call call = store_call(COMMAND_CALL_MS, -1);
        int64_t began_us = clock_monotonic_us();
        r = bulk->change(store, filter, &after, BATCH, &call, &n, err);
        if (r < 0)
            break;
        *ret += n;
        if (n > 0)
            throttle(began_us);
        show_progress(&progress, &total, store, filter, after, *ret);
    } while (n > 0);
    progress_end(&progress);
    return r;
}

int bulk_run(const struct bulk *bulk, struct store *store, const struct outbox_filter *filter,
             bool dry_run)
{
    struct outbox_err err = {.size = sizeof err};
    uint64_t n;
    bool at_least;
    int r = dry_run ? count_rows(store, filter, COMMAND_FROM_FIRST, 0, &n, &at_least, &err)
                    : change_all(bulk, store, filter, &n, &err);
    const char *would = dry_run ? "would be " : "";
    if (r < 0 && dry_run && !bulk->dry_part)
        return report_failure("%s", err.text);
    if (r < 0)
        return report_failure("%s; %s%s %" PRIu64 " before that", err.text, would, bulk->done, n);
    printf("%s%s %" PRIu64 "\n", would, bulk->done, n);
    return EXIT_DONE;
}
