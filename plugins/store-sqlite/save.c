/* SPDX-License-Identifier: Apache-2.0 */
/* save.c - messages are written: in a producer's transaction, or in one of our own. */
#include "common/sql_insert.h"
#include "db.h"

#include <uuid/uuid.h>

static int64_t available(void *ctx, int64_t delay_ms)
{
    return db_now_plus(ctx, delay_ms);
}

static int run_here(void *ctx, const char *sql, const struct outbox_arg *const *args, uint64_t n,
                    struct outbox_err *err)
{
    struct store *s = ctx;
    sqlite3_stmt *q;
    int r = db_query(s, STMT_ONCE, sql, DB_NO_ARGS, &q, err);
    for (uint64_t i = 0; r == 0 && i < n; i++)
        db_bind(q, (int)i + 1, args[i]);
    if (r < 0)
        return r;
    s->id_exists = false;
    r = db_step(s, q, err);
    return r < 0 && s->id_exists ? OUTBOX_E_EXISTS : r;
}

/* Ids are made here: the table's default uses SQLite's random numbers, which are the same in a
 * process and in one that it forked. */
static int save_one(const struct sql_insert_dialect *dialect, const struct outbox_new *row,
                    const struct outbox_exec *exec, struct outbox_err *err)
{
    struct outbox_new with_id = *row;
    char text[UUID_STR_LEN];
    uuid_t id;
    if (row->id.n == 0) {
        uuid_generate_random(id);
        uuid_unparse_lower(id, text);
        with_id.id = outbox_cstr(text);
    }
    return sql_insert_message(dialect, &with_id, exec, err);
}

static int save_here(const struct sql_insert_dialect *dialect, const struct outbox_new *row,
                     const struct outbox_exec *here, struct outbox_err *err)
{
    int r = save_one(dialect, row, here, err);
    return r == OUTBOX_E_EXISTS ? sql_insert_fail_exists(row, err) : r;
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
        r = connect_begin(s, call, err);
    bool begun = r == 0 && !exec;
    for (uint64_t i = 0; r == 0 && i < n; i++)
        r = exec ? save_one(&dialect, rows[i], exec, err)
                 : save_here(&dialect, rows[i], &here, err);
    sqlite3_free(table);
    return begun ? db_end(s, r, err) : r;
}
