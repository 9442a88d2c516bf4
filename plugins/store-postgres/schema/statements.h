/* SPDX-License-Identifier: Apache-2.0 */
/* statements.h - the SQL that makes the tables. Lists are in the order of their making. */
#ifndef STORE_POSTGRES_SCHEMA_STATEMENTS_H
#define STORE_POSTGRES_SCHEMA_STATEMENTS_H

#include <stdbool.h>

/* What this version writes; it still works on a table which needs no more than that. */
#define SCHEMA_VERSION 1
#define STATEMENTS_VERSION                                  \
    "INSERT INTO {t_schema} (version, needs) SELECT 1, 1\n" \
    "    WHERE NOT EXISTS (SELECT 1 FROM {t_schema})"

/* The first key of the advisory lock of notify = on; the second is the table's oid. */
#define STATEMENTS_GATE "1869968482" /* "outb" */

/* Each ends with NULL. */
extern const char *const statements_table[];
extern const char *const statements_storage[];
extern const char *const statements_companions[];
extern const char *const statements_notify[];

/* An index {n_NAME} ON {t}. */
struct statements_index {
    const char *name;
    bool unique;
    const char *definition; /* columns and condition */
};
/* Ends with a NULL name. */
extern const struct statements_index statements_indexes[];

#endif
