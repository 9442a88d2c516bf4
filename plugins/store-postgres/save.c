/* SPDX-License-Identifier: Apache-2.0 */
/* save.c - messages are written: in a producer's transaction, or in one of our own. */
#include "common/sql_insert.h"
#include "store.h"

#include <stdlib.h>

static int64_t available(void *ctx, int64_t delay_ms)
{
    (void)ctx;
    return delay_ms < TIME_MAX_MS ? delay_ms : TIME_MAX_MS;
}

/* The casts let any driver run the statement with arguments that are texts. */
static const struct sql_insert_dialect casts = {
    .table = "{t}",
    .values = {"$%d::text::uuid", "$%d::text", "$%d::text", "$%d::bytea", "$%d::text::jsonb",
               "clock_timestamp() + $%d::int8::float8 * interval '1 millisecond'"},
    .available = available,
};

static int run_here(void *ctx, const char *sql, const struct outbox_arg *const *given, uint64_t n,
                    struct outbox_err *err)
{
    struct store *s = ctx;
    struct pg_args args = {.arena = &s->conn.scratch};
    for (uint64_t i = 0; i < n; i++) {
        if (given[i]->type == OUTBOX_ARG_INT)
            pg_args_int(&args, given[i]->i);
        else if (given[i]->type == OUTBOX_ARG_BLOB)
            pg_args_bytes(&args, given[i]->s);
        else
            pg_args_text(&args, given[i]->s);
    }
    int r = pipeline_change(&s->conn, STMT_NONE, sql, &args, NULL, err);
    arena_reset(&s->conn.scratch);
    return r < 0 && failure_is_of_id(&s->conn) ? OUTBOX_E_EXISTS : r;
}

int op_save(void *instance, const struct outbox_new *const *rows, uint64_t n,
            const struct outbox_exec *exec, const struct outbox_call *call, struct outbox_err *err)
{
    struct store *s = instance;
    const struct outbox_exec here = {.size = sizeof here, .ctx = s, .run = run_here};
    struct sql_insert_dialect dialect = casts;
    char *table = NULL;
    int r = OUTBOX_OK;
    if (exec && !(table = table_name_render(&s->name, s->conn.schema, "{t}")))
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (!exec && (r = store_enter(s, call, err)) == 0)
        r = pipeline_begin(&s->conn, err);
    if (r < 0)
        return r;
    if (exec) /* else the name is put in when the statement is sent */
        dialect.table = table;
    for (uint64_t i = 0; r == 0 && i < n; i++) {
        r = sql_insert_message(&dialect, rows[i], exec ? exec : &here, err);
        if (!exec && r == OUTBOX_E_EXISTS)
            sql_insert_fail_exists(rows[i], err);
    }
    free(table);
    return exec ? r : pipeline_end(&s->conn, r, err);
}
