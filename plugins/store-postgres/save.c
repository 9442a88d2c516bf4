/* SPDX-License-Identifier: Apache-2.0 */
/* save.c - messages are written: in a producer's transaction, or in one of our own. */
#include "common/sql_insert.h"
#include "postgres.h"

#include <stdlib.h>
#include <string.h>

/* The casts let any driver run the statement with arguments that are texts. */
static const struct sql_insert_dialect casts = {
    .values = {"$%d::text::uuid", "$%d::text", "$%d::text", "$%d::bytea", "$%d::text::jsonb",
               "clock_timestamp() + $%d::int8::float8 * interval '1 millisecond'"},
};

static int64_t available(void *ctx, int64_t delay_ms)
{
    (void)ctx;
    return delay_ms < TIME_MAX_MS ? delay_ms : TIME_MAX_MS;
}

static int run_here(void *ctx, const char *sql, const struct outbox_arg *const *given, uint64_t n,
                    struct outbox_err *err)
{
    struct store *s = ctx;
    struct args args = {.arena = &s->scratch};
    PGresult *result;
    for (uint64_t i = 0; i < n; i++) {
        if (given[i]->type == OUTBOX_ARG_INT)
            args_int(&args, given[i]->i);
        else if (given[i]->type == OUTBOX_ARG_BLOB)
            args_bytes(&args, given[i]->s);
        else
            args_text(&args, given[i]->s);
    }
    int r = db_query(s, SLOT_NONE, sql, &args, &result, err);
    PQclear(result);
    arena_reset(&s->scratch);
    if (r < 0 && strcmp(s->failed_state, "23505") == 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "there is a message with this id already");
    return r;
}

int save(void *instance, const struct outbox_new *const *rows, uint64_t n,
         const struct outbox_exec *exec, const struct outbox_call *call, struct outbox_err *err)
{
    struct store *s = instance;
    const struct outbox_exec here = {.size = sizeof here, .ctx = s, .run = run_here};
    struct sql_insert_dialect dialect = casts;
    int r = exec ? OUTBOX_OK : db_enter(s, call, err);
    /* Here the name is put in when the statement is sent. */
    char *table = exec ? name_render(s, "{t}") : NULL;
    if (exec && !table)
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r == 0 && !exec)
        r = db_exec(s, BEGIN, err);
    bool begun = r == 0 && !exec;
    dialect.table = exec ? table : "{t}";
    dialect.available = available;
    for (uint64_t i = 0; r == 0 && i < n; i++)
        r = sql_insert_message(&dialect, rows[i], exec ? exec : &here, err);
    free(table);
    if (begun)
        r = r < 0 ? db_rollback(s, r) : db_exec(s, "COMMIT", err);
    return r;
}
