/* SPDX-License-Identifier: Apache-2.0 */
/* pg_args.h - the arguments of a statement, in PostgreSQL's binary formats (the *recv functions of
 * its src/backend/utils/adt). */
#ifndef STORE_POSTGRES_CONNECTION_PG_ARGS_H
#define STORE_POSTGRES_CONNECTION_PG_ARGS_H

#include "common/arena.h"

#include <libpq-fe.h>
#include <stdbool.h>

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
void pg_args_ctids(struct pg_args *args, const uint64_t *values, size_t n);

#endif
