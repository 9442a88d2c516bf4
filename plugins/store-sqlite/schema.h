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

/* OK, or OUTBOX_E_CONFIG with what to do. */
int schema_check(struct store *s, struct outbox_err *err);
/* The table under a name, with more columns than ours. */
int schema_create(struct store *s, const char *name, const char *columns, struct outbox_err *err);
/* Its indexes and the tables that belong to it. */
int schema_complete(struct store *s, struct outbox_err *err);

/* A table of the ten-column form becomes ours: built anew beside it, filled in the order of
 * creation, and put in its place, all in one transaction, which the caller has begun. Producers
 * wait meanwhile. *ret_rows: how many rows the table has. OUTBOX_E_CONFIG:
 * building it anew would lose something that was added to it. */
int upgrade(struct store *s, int64_t *ret_rows, struct outbox_err *err);
