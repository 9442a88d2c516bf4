/* SPDX-License-Identifier: Apache-2.0 */
/* change.h - rows that a person or the retention changes, of which the database may refuse some. */
#pragma once

#include "store.h"

/* Statements whose $1 are seqs. */
struct change_sql {
    const char *change;
    const char *left; /* selects the seqs of those that it should have changed, and did not */
};

/* What became of them. */
struct change {
    uint64_t n; /* changed */
    uint64_t n_refused;
    int64_t refused; /* seq of the last one that was refused ... */
    char why[300];   /* ... and the database's words */
};

/* Changes rows. Those that the database refuses are found by halves, and told to `refused`; the
 * others are changed, as far as the time of the call goes. What fails without any row is an error.
 * Adds to *ret. */
int change_rows(struct store *s, const struct change_sql *sql, const int64_t *seqs, size_t n,
                void (*refused)(struct store *s, int64_t seq, const char *why), struct change *ret,
                struct outbox_err *err);
