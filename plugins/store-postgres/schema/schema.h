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

/* Its columns; the first OLD_COLUMNS are those of the Go package's table. `types` are those that
 * will do, a default is what init sets where there is none. */
#define STATEMENTS_OLD_COLUMNS "10"
#define STATEMENTS_COLUMNS                                                                  \
    "(VALUES (1, 'id', 'uuid', 'gen_random_uuid()'),"                                       \
    " (2, 'topic', 'text, character varying', NULL),"                                       \
    " (3, 'key', 'text, character varying', ''''''), (4, 'payload', 'bytea', NULL),"        \
    " (5, 'headers', 'jsonb, json', NULL),"                                                 \
    " (6, 'status', 'text, character varying', '''pending'''),"                             \
    " (7, 'retries', 'integer, bigint, smallint', '0'),"                                    \
    " (8, 'last_error', 'text, character varying', ''''''),"                                \
    " (9, 'created_at', 'timestamp with time zone', 'now()'),"                              \
    " (10, 'processed_at', 'timestamp with time zone', NULL), (11, 'seq', 'bigint', NULL)," \
    " (12, 'available_at', 'timestamp with time zone', NULL),"                              \
    " (13, 'lane', 'text, character varying', NULL), (14, 'lane_seq', 'bigint', NULL),"     \
    " (15, 'origin_id', 'uuid', NULL), (16, 'lease', 'bigint', NULL))"                      \
    " AS w (place, name, types, deflt)"
/* Of a row `a` of pg_attribute: has it one of the types? */
#define STATEMENTS_TYPE_FITS \
    "pg_catalog.format_type(a.atttypid, NULL) = ANY (pg_catalog.string_to_array(w.types, ', '))"

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
/* Of a row `c` of pg_class, an index of the table: is it that one? Its table may have been renamed.
 */
#define STATEMENTS_INDEX_FITS(suffix) \
    "pg_catalog.right(c.relname::text, pg_catalog.length(" suffix ") + 1) = '_' || " suffix

/* ---- check.c: does the table exist, in a form that this version works on? ---- */

enum check_form { FORM_MISSING, FORM_OLD, FORM_OURS };
enum check_trigger { TRIGGER_MISSING, TRIGGER_DISABLED, TRIGGER_ENABLED };

/* Begins a call: its deadline, and a connection to a database whose table fits. */
int check_enter(struct conn *conn, bool notify, const struct outbox_call *call,
                struct outbox_err *err);

/* Finds the table and its schema; *ret_missing says what to do if it is not there, or is NULL. */
int check_find(struct conn *conn, enum check_form *ret, struct outbox_err *ret_missing,
               struct outbox_err *err);
int check_version(struct conn *conn, struct outbox_err *err);
int check_trigger(struct conn *conn, enum check_trigger *ret, struct outbox_err *err);

/* ---- audit.c: is everything there that makes the table work, and may the role use it? ---- */

#define AUDIT_WARNINGS 8
#define AUDIT_TEXT 400
#define AUDIT_FIXES 24

struct audit {
    char errors[AUDIT_TEXT]; /* joined, as far as they fit */
    size_t n_errors;
    size_t n_mendable; /* of them: what init mends */
    char warnings[AUDIT_WARNINGS][AUDIT_TEXT];
    size_t n_warnings;
    /* How some of it is mended: ALTER TABLE ... */
    char fixes[AUDIT_FIXES][200];
    size_t n_fixes;
};

/* Each adds what it finds: of columns, defaults, indexes and companions; of the role's privileges;
 * and, where all those are in order, of what is in the table. */
int audit_form(struct conn *conn, struct audit *audit, struct outbox_err *err);
int audit_rights(struct conn *conn, bool leases, struct audit *audit, struct outbox_err *err);
int audit_rows(struct conn *conn, struct audit *audit, struct outbox_err *err);
/* A part of audit_rows. */
int audit_sequence(struct conn *conn, struct audit *audit, struct outbox_err *err);

/* ---- mend.c ---- */

/* Mends our form of the table, whose numbers an upgrade may have to give anew; *ret_mended: there
 * was something. OUTBOX_E_CONFIG: something is left. */
int mend(struct conn *conn, bool *ret_mended, int64_t *ret_rows, struct outbox_err *err);

/* ---- ddl.c ---- */

/* Runs a list of statements in one transaction that waits for its locks a little at a time, so that
 * others do not queue. */
int ddl_run_patiently(struct conn *conn, const char *const *statements, struct outbox_err *err);
/* Begins such a transaction. */
int ddl_begin_patiently(struct conn *conn, struct outbox_err *err);
/* After r and *err: waits, and true when the same is worth another try. */
bool ddl_try_again(struct conn *conn, int r, const struct outbox_err *err);
/* Builds a list of indexes without locking anybody out, unless they are there. */
int ddl_build_indexes(struct conn *conn, const struct statements_index *index,
                      struct outbox_err *err);
/* CREATE INDEX, `how` being "" or "CONCURRENTLY "; for free(), NULL without memory. */
char *ddl_index(const struct statements_index *index, const char *how);

/* ---- upgrade.c ---- */

/* Gives the table its columns, and numbers to rows that have none; adds how many those were. */
int upgrade_columns(struct conn *conn, int64_t *ret_rows, struct outbox_err *err);
/* The table of ten columns, which check_find found, becomes ours; how many rows got a number. */
int upgrade_old(struct conn *conn, int64_t *ret_rows, struct outbox_err *err);
