/* SPDX-License-Identifier: Apache-2.0 */
/* schema.h - the tables: what makes them, whether they fit, and how they are changed. */
#pragma once

#include "connection/pipeline.h"

/* ---- statements.c: the SQL; lists are in the order of their making ---- */

/* What this version writes; it still works on a table which needs no more than that. */
#define SCHEMA_VERSION 1
#define STATEMENTS_VERSION                                  \
    "INSERT INTO {t_schema} (version, needs) SELECT 1, 1\n" \
    "    WHERE NOT EXISTS (SELECT 1 FROM {t_schema})"

/* The first key of the advisory lock of notify = on; the second is the table's oid. */
#define STATEMENTS_GATE "1869968482" /* "outb" */

extern const char statements_table[];
/* Each ends with NULL. */
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

/* ---- check.c: does the table exist, in a form that this version works on? ---- */

enum check_form { FORM_MISSING, FORM_OLD, FORM_OURS };
enum check_trigger { TRIGGER_MISSING, TRIGGER_DISABLED, TRIGGER_ENABLED };

/* Begins a call: its deadline, and a connection to a database whose table fits. */
int check_enter(struct conn *conn, bool notify, const struct outbox_call *call,
                struct outbox_err *err);

/* Finds the table and its schema. */
int check_find(struct conn *conn, enum check_form *ret, struct outbox_err *err);
int check_version(struct conn *conn, struct outbox_err *err);
int check_trigger(struct conn *conn, enum check_trigger *ret, struct outbox_err *err);

/* ---- ddl.c ---- */

/* Runs a list of statements in one transaction that waits for its locks a little at a time, so that
 * others do not queue. */
int ddl_run_patiently(struct conn *conn, const char *const *statements, struct outbox_err *err);
/* Begins such a transaction. */
int ddl_begin_patiently(struct conn *conn, struct outbox_err *err);
/* After r and *err: waits, and true when the same is worth another try. */
bool ddl_try_again(struct conn *conn, int r, const struct outbox_err *err);
/* CREATE INDEX, `how` being "" or "CONCURRENTLY "; for free(), NULL without memory. */
char *ddl_index(const struct statements_index *index, const char *how);

/* ---- upgrade.c ---- */

/* The table of ten columns, which check_find found, becomes ours; how many rows got a number. */
int upgrade_old(struct conn *conn, int64_t *ret_rows, struct outbox_err *err);
