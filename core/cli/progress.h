/* SPDX-License-Identifier: Apache-2.0 */
/* progress.h - work that takes longer than a second, and the line that a terminal shows of it. */
#pragma once

#include "plugin/store.h"

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_UNKNOWN UINT64_MAX

struct progress {
    const char *what;
    int64_t began_us;
    int64_t shown_us;
    bool terminal; /* stdout and stderr are one; else nothing is ever shown */
    bool shown;
};

void progress_begin(struct progress *progress, const char *what);
/* Is a line due? A caller checks it before it counts what costs time. */
bool progress_due(const struct progress *progress);
/* Shows the line, which is due. `remaining` may be PROGRESS_UNKNOWN; at_least: or too low. */
void progress_step(struct progress *progress, uint64_t done, uint64_t remaining, bool at_least);
/* Erases the line. */
void progress_end(struct progress *progress);

/* ---- bulk.c: all rows of a filter, in small batches that leave producers their share ---- */

/* Changes at most `limit` rows behind *after, and moves *after behind them. */
typedef int (*bulk_fn)(struct store *store, const struct outbox_filter *filter, int64_t *after,
                       uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                       struct outbox_err *err);

struct bulk {
    const char *name; /* "requeue", for the progress line */
    const char *done; /* "requeued", for the result */
    bulk_fn change;
    bool dry_part; /* a dry run that fails says how many it had counted */
};

/* Changes the rows, or with dry_run only counts them, and prints how many. Returns an exit code. */
int bulk_run(const struct bulk *bulk, struct store *store, const struct outbox_filter *filter,
             bool dry_run);
