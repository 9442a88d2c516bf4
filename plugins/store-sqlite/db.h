/* SPDX-License-Identifier: Apache-2.0 */
/* db.h - statements and transactions on the connection. All return OUTBOX_OK or a class. */
#pragma once

#include "store.h"

/* The arguments ?1, ?2 ... of a statement, two parameters of the functions below. */
#define DB_INT(n) ((struct outbox_arg){.type = OUTBOX_ARG_INT, .i = (n)})
#define DB_TEXT(str) ((struct outbox_arg){.type = OUTBOX_ARG_TEXT, .s = (str)}) /* NULL: NULL */
#define DB_NULL ((struct outbox_arg){.type = OUTBOX_ARG_NULL})
#define DB_ARGS(...)                          \
    (const struct outbox_arg[]){__VA_ARGS__}, \
        sizeof((struct outbox_arg[]){__VA_ARGS__}) / sizeof(struct outbox_arg)
#define DB_NO_ARGS NULL, 0

/*
 * A statement with its arguments, before its first row; {t} in its text is the table. It is the
 * store's: valid until the next one of the same `stmt`. Texts are borrowed until it is reset.
 */
int db_query(struct store *s, enum stmt stmt, const char *sql, const struct outbox_arg *args,
             size_t n_args, sqlite3_stmt **ret, struct outbox_err *err);
/* 1: the next row; 0: there is none, the statement is reset. After a failure the statement may be
 * gone with the connection, unless the failure may be that of one row: then s->row_at_fault is set.
 * Whoever stops before the end calls sqlite3_reset. */
int db_step(struct store *s, sqlite3_stmt *q, struct outbox_err *err);
/* Runs a statement without rows. */
int db_run(struct store *s, enum stmt stmt, const char *sql, const struct outbox_arg *args,
           size_t n_args, struct outbox_err *err);
/* The same, prepared for this once and without arguments. */
int db_exec(struct store *s, const char *sql, struct outbox_err *err);
/* The first column of the first row: 0 without one. */
int db_read_int(struct store *s, enum stmt stmt, const char *sql, const struct outbox_arg *args,
                size_t n_args, int64_t *ret, struct outbox_err *err);
/* Fails: a trigger skipped the row, which is still as it was. */
int db_skipped(struct store *s, struct outbox_err *err);
/* As a text for sqlite3_free: NULL without one. */
int db_read_text(struct store *s, const char *sql, char **ret, struct outbox_err *err);

/* Begins a transaction that writes. */
int db_begin(struct store *s, struct outbox_err *err);
/* Ends a transaction, of either kind: commits if r is OUTBOX_OK, else rolls back and keeps *err.
 * Returns r, or why it could not be committed. */
int db_end(struct store *s, int r, struct outbox_err *err);

/* Fills *err from the connection, returns the class, and closes a connection that may be at fault.
 */
int db_fail(struct store *s, struct outbox_err *err);
void db_close(struct store *s);

/* Puts the table's name for every {t}; for sqlite3_free. NULL without memory. */
char *db_render(const struct store *s, const char *sql);
void db_bind(sqlite3_stmt *q, int index, const struct outbox_arg *arg);
/* A column's bytes; n 0 and p NULL for SQL NULL. Valid until the next step. */
struct outbox_str db_column(sqlite3_stmt *q, int column);

int64_t db_now(const struct store *s);
/* So many milliseconds from now, or before if negative; never beyond what a time can be. */
int64_t db_now_plus(const struct store *s, int64_t ms);

/* ---- connect.c: how a call begins: its deadline, and a connection, made when needed ---- */

/* Begins a call, on a database whose table fits. */
int connect_enter(struct store *s, const struct outbox_call *call, struct outbox_err *err);
/* The same, and begins a transaction that writes. */
int connect_begin(struct store *s, const struct outbox_call *call, struct outbox_err *err);
/* Begins a call of init: the file may be made, the table may be missing. */
int connect_enter_init(struct store *s, const struct outbox_call *call, struct outbox_err *err);
/* Is another file, or none, at the path now? */
bool connect_has_moved(const struct store *s);

/* ---- timestamp.c: times as the table has them, and as others may have written them ---- */

#define TIMESTAMP_SIZE 32
/* 2026-11-23 19:47:00.123, as the table has it; returns out. */
const char *timestamp_format(int64_t us, char out[TIMESTAMP_SIZE]);
/* Any form that SQLite takes for a date, or a number; 0 when it cannot be read, or is no time that
 * a message can have been written at. */
int64_t timestamp_column(sqlite3_stmt *q, int column);
/* The SQL function outbox_timestamp(X): the same, of any value. */
void timestamp_sql(sqlite3_context *context, int n, sqlite3_value **values);
/* The SQL function outbox_due(X): available_at as a number, or NULL for at once; what cannot be
 * read stays as it is. */
void timestamp_due_sql(sqlite3_context *context, int n, sqlite3_value **values);
