/* SPDX-License-Identifier: Apache-2.0 */
/* save.c - messages are written: in a producer's transaction, or in one of our own. */
#include "common/sql_insert.h"
#include "sqlite.h"

#include <stdlib.h>

static int64_t available(void *ctx, int64_t delay_ms)
{
    return db_now_plus(ctx, delay_ms);
}

static int run_here(void *ctx, const char *sql, const struct outbox_arg *const *args, uint64_t n,
                    struct outbox_err *err)
{
    struct store *s = ctx;
    sqlite3_stmt *q = db_prepare(s, sql, err);
    if (!q)
        return s->failure;
    for (uint64_t i = 0; i < n; i++) {
        if (args[i]->type == OUTBOX_ARG_INT)
            sqlite3_bind_int64(q, (int)i + 1, args[i]->i);
        else if (args[i]->type == OUTBOX_ARG_BLOB)
            db_bind_blob(q, (int)i + 1, args[i]->s);
        else
            db_bind(q, (int)i + 1, args[i]->s);
    }
    int code = sqlite3_step(q);
    sqlite3_finalize(q);
    if (code == SQLITE_DONE)
        return OUTBOX_OK;
    if (code == SQLITE_CONSTRAINT_UNIQUE)
        return outbox_fail(err, OUTBOX_E_CONFIG, "there is a message with this id already");
    return db_fail(s, err);
}

int save(void *instance, const struct outbox_new *const *rows, uint64_t n,
         const struct outbox_exec *exec, const struct outbox_call *call, struct outbox_err *err)
{
    struct store *s = instance;
    const struct outbox_exec here = {.size = sizeof here, .ctx = s, .run = run_here};
    char *table = db_render(s, "\"{t}\"");
    const struct sql_insert_dialect dialect = {
        .table = table,
        .values = {"?%d", "?%d", "?%d", "?%d", "?%d", "?%d"},
        .available = available,
        .ctx = s,
    };
    int r = table ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r == 0 && !exec)
        r = db_enter(s, call, err);
    if (r == 0 && !exec)
        r = db_begin(s, err);
    bool begun = r == 0 && !exec;
    for (uint64_t i = 0; r == 0 && i < n; i++)
        r = sql_insert_message(&dialect, rows[i], exec ? exec : &here, err);
    free(table);
    if (begun)
        r = r < 0 ? db_rollback(s, r) : db_commit(s, err);
    return r;
}
