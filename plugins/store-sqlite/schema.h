/* SPDX-License-Identifier: Apache-2.0 */
/* schema.h - the tables: made, checked, printed. */
#pragma once

#include "store.h"

/* What this version writes, and the least version that it still works on unchanged. */
#define SCHEMA_VERSION 1
#define SCHEMA_SET_VERSION                                    \
    "INSERT INTO \"{t}_schema\" (version, needs) SELECT 1, 1" \
    " WHERE NOT EXISTS (SELECT 1 FROM \"{t}_schema\")"

/* A random UUID of version 4. */
#define SCHEMA_UUID                                                                  \
    "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' ||\n"             \
    "        substr(hex(randomblob(2)), 2) || '-' ||\n"                              \
    "        substr('89ab', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2)" \
    " ||\n        '-' || hex(randomblob(6)))"

/* Rows that nobody ever sends. Every write of a row evaluates this for its index, where NOT IN
 * would cost as much as all other indexes. */
#define SCHEMA_UNKNOWN                                                             \
    "status <> 'pending' AND status <> 'processing' AND status <> 'processed' AND" \
    " status <> 'failed'"

/* An index, by the end of its name. All are partial; a statement that names one and has its
 * condition can be compiled only if it is there. */
struct schema_index {
    const char *name;
    const char *columns;
    const char *where;
};
#define SCHEMA_N_INDEXES 8
extern const struct schema_index schema_indexes[SCHEMA_N_INDEXES];
bool schema_has_index(struct store *s, const struct schema_index *index);

/* A column that `outboxd init` adds where it is missing. */
struct schema_column {
    const char *table; /* the end of its name */
    const char *name;
    const char *type;
};
#define SCHEMA_N_ADDED 6
extern const struct schema_column schema_added[SCHEMA_N_ADDED];
bool schema_has_column(struct store *s, const struct schema_column *column);

/* The table under a name, with more columns than ours. */
int schema_create(struct store *s, const char *name, const char *columns, struct outbox_err *err);
/* Its indexes and the tables that belong to it, and columns that were added later: what is missing,
 * or is not what it should be, is made. */
int schema_complete(struct store *s, struct outbox_err *err);

/* A table of the ten-column form becomes ours: built anew beside it, filled in the order of
 * creation, and put in its place, all in one transaction, which the caller has begun. Producers
 * wait meanwhile. *ret_rows: how many rows the table has. OUTBOX_E_CONFIG:
 * building it anew would lose something that was added to it. */
int upgrade(struct store *s, int64_t *ret_rows, struct outbox_err *err);
