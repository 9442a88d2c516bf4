/* SPDX-License-Identifier: Apache-2.0 */
/* pg_binary.h - PostgreSQL's binary formats (the *recv and *send functions of its
 * src/backend/utils/adt): the arguments of a statement, and the columns of a result. */
#pragma once

#include "common/arena.h"

#include <libpq-fe.h>
#include <stdbool.h>

/* ---- pg_args.c ---- */

#define PG_ARGS_MAX 10

/* They point into the arena. */
struct pg_args {
    struct arena *arena;
    int n;
    bool failed; /* out of memory; such a statement is not sent */
    Oid types[PG_ARGS_MAX];
    const char *values[PG_ARGS_MAX];
    int lengths[PG_ARGS_MAX];
};

/* Each adds one. */
void pg_args_int(struct pg_args *args, int64_t value);
void pg_args_text(struct pg_args *args, struct outbox_str text);
void pg_args_bytes(struct pg_args *args, struct outbox_str bytes);
/* Arrays; of texts NULL members may be. */
void pg_args_ints(struct pg_args *args, const int64_t *values, size_t n);
void pg_args_texts(struct pg_args *args, const struct outbox_str *values, size_t n);
/* Row addresses, each as pg_column_ctid gives it. */
void pg_args_ctids(struct pg_args *args, const int64_t *values, size_t n);

/* ---- pg_column.c ---- */

int64_t pg_column_int(const PGresult *rows, int row, int column); /* or boolean; NULL: 0 */
struct outbox_str pg_column_text(const PGresult *rows, int row, int column); /* NULL: p NULL */
int64_t pg_column_time(const PGresult *rows, int row, int column);           /* us; NULL: 0 */
uint64_t pg_column_ctid(const PGresult *rows, int row, int column);
/* A UUID as text of 36 characters in the arena. OUTBOX_E_RETRY without memory. */
int pg_column_uuid(const PGresult *rows, int row, int column, struct arena *arena,
                   struct outbox_str *ret);
