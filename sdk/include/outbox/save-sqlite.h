/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/save-sqlite.h - writes messages in your own SQLite transaction. It is a header only: your
 * program links SQLite; liboutbox does not.
 *
 *     struct outbox_exec exec = outbox_exec_sqlite(db);
 *     sqlite3_exec(db, "BEGIN IMMEDIATE", 0, 0, 0);
 *     ... your own change ...
 *     outbox_save(store, messages, n, &exec, 0, &err);
 *     sqlite3_exec(db, "COMMIT", 0, 0, 0);
 */
#ifndef OUTBOX_SAVE_SQLITE_H
#define OUTBOX_SAVE_SQLITE_H

#include <outbox/helpers.h>
#include <outbox/store.h>

#include <sqlite3.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Binds an argument to a placeholder; returns an SQLite code. */
static inline int outbox_sqlite_bind(sqlite3_stmt *statement, int index,
                                     const struct outbox_arg *arg)
{
    if (arg->type == OUTBOX_ARG_INT)
        return sqlite3_bind_int64(statement, index, arg->i);
    if (arg->type == OUTBOX_ARG_NULL || !arg->s.p)
        return sqlite3_bind_null(statement, index);
    if (arg->type == OUTBOX_ARG_BLOB)
        return sqlite3_bind_blob64(statement, index, arg->s.p, arg->s.n, SQLITE_STATIC);
    return sqlite3_bind_text64(statement, index, arg->s.p, arg->s.n, SQLITE_STATIC, SQLITE_UTF8);
}

/** The class of an SQLite error: OUTBOX_E_RETRY if the same transaction may succeed later. */
static inline int outbox_sqlite_class(int code)
{
    switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_NOMEM:
    case SQLITE_INTERRUPT:
    case SQLITE_IOERR:
    case SQLITE_FULL:
    case SQLITE_SCHEMA:
        return OUTBOX_E_RETRY;
    default:
        return OUTBOX_E_CONFIG;
    }
}

/** The `run` of outbox_exec: one statement on the sqlite3 * in ctx, in its current transaction. */
static inline int outbox_sqlite_run(void *ctx, const char *sql,
                                    const struct outbox_arg *const *args, uint64_t n,
                                    struct outbox_err *err)
{
    sqlite3 *db = OUTBOX_CAST(sqlite3 *, ctx);
    sqlite3_stmt *statement = OUTBOX_NULL;
    uint64_t i;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, OUTBOX_NULL);
    for (i = 0; code == SQLITE_OK && i < n; i++)
        code = outbox_sqlite_bind(statement, OUTBOX_CAST(int, i) + 1, args[i]);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    sqlite3_finalize(statement);
    if (code == SQLITE_DONE || code == SQLITE_ROW)
        return OUTBOX_OK;
    return outbox_fail(err, outbox_sqlite_class(code), "cannot write the message: %s",
                       sqlite3_errmsg(db));
}

/** An exec for outbox_save that writes on this connection. The exec borrows the connection. */
static inline struct outbox_exec outbox_exec_sqlite(sqlite3 *db)
{
    struct outbox_exec exec = {sizeof exec, 0, OUTBOX_NULL, outbox_sqlite_run};
    exec.ctx = db;
    return exec;
}

#ifdef __cplusplus
}
#endif
#endif
