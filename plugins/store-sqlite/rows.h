/* SPDX-License-Identifier: Apache-2.0 */
/* rows.h - rows by their seq: those that a statement finds, changed all alike. */
#pragma once

#include "store.h"

struct rows {
    int64_t *seqs;
    size_t n;
    size_t room;
};

/* What becomes of each: a statement for the row ?1, and one that tells whether there is anything to
 * change; ?2 in both is `arg`. */
struct rows_change {
    const char *sql;
    const char *still;
    int64_t arg;
    bool is_persons; /* they want to know which rows are refused, and may try again at once */
};
#define ROWS_UPDATE(set, condition)                                    \
    .sql = "UPDATE \"{t}\" SET " set " WHERE seq = ?1 AND " condition, \
    .still = "SELECT EXISTS (SELECT 1 FROM \"{t}\" WHERE seq = ?1 AND " condition ")"
#define ROWS_DELETE(condition)                                  \
    .sql = "DELETE FROM \"{t}\" WHERE seq = ?1 AND " condition, \
    .still = "SELECT EXISTS (SELECT 1 FROM \"{t}\" WHERE seq = ?1 AND " condition ")"

/* Reads the first column of all rows of the statement, to the end of *ret. */
int rows_read(struct store *s, sqlite3_stmt *q, struct rows *ret, struct outbox_err *err);
/* Changes them, in as few transactions as the database allows: what it refuses goes to the
 * quarantine. *ret_n: how many were changed. */
int rows_apply(struct store *s, const struct rows *rows, const struct rows_change *change,
               uint64_t *ret_n, struct outbox_err *err);
void rows_free(struct rows *rows);
