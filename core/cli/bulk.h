/* SPDX-License-Identifier: Apache-2.0 */
/* bulk.h - changing all rows of a filter, in small batches that leave producers their share. */
#ifndef CORE_CLI_BULK_H
#define CORE_CLI_BULK_H

#include "plugin/store.h"

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

#endif
