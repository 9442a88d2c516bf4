/* SPDX-License-Identifier: Apache-2.0 */
/* save.c - messages are written: in a producer's transaction, or in one of our own. */
#include "common/sql_insert.h"
#include "store.h"

#include <stdlib.h>
#include <string.h>

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

/* ---- a transaction of our own: so many INSERTs go in one round trip ---- */

#define ROUND 10

struct round {
    struct store *s;
    size_t size; /* ROUND or less */
    struct step steps[ROUND];
    struct pg_args args[ROUND];
    size_t n;
};

static int send_round(struct round *round, struct outbox_err *err)
{
    struct conn *conn = &round->s->conn;
    if (round->n == 0)
        return OUTBOX_OK;
    int r = pipeline_run(conn, round->steps, round->n, err);
    pipeline_clear(round->steps, round->n);
    round->n = 0;
    arena_reset(&conn->scratch);
    return r;
}

/* Texts are gone when this returns, and a payload stays as long as its message. */
static bool add_arg(struct pg_args *args, const struct outbox_arg *given)
{
    struct outbox_str text = given->s;
    if (given->type == OUTBOX_ARG_INT)
        pg_args_int(args, given->i);
    else if (given->type == OUTBOX_ARG_BLOB)
        pg_args_bytes(args, given->s);
    else if (text.p && arena_str(args->arena, text.p, (size_t)text.n, &text) < 0)
        return false;
    else
        pg_args_text(args, text);
    return true;
}

static int run_here(void *ctx, const char *sql, const struct outbox_arg *const *given, uint64_t n,
                    struct outbox_err *err)
{
    struct round *round = ctx;
    struct arena *arena = &round->s->conn.scratch;
    struct outbox_str copy;
    struct pg_args *args = &round->args[round->n];
    *args = (struct pg_args){.arena = arena};
    bool ok = arena_str(arena, sql, strlen(sql) + 1, &copy) == 0;
    for (uint64_t i = 0; ok && i < n; i++)
        ok = add_arg(args, given[i]);
    if (!ok)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    round->steps[round->n++] = (struct step){.stmt = STMT_NONE, .sql = copy.p, .args = args};
    return round->n == round->size ? send_round(round, err) : OUTBOX_OK;
}

static bool is_duplicate(const struct store *s, int r)
{
    return r < 0 && failure_is_of_id(&s->conn);
}

/* One transaction, in rounds of so many. */
static int save_rounds(struct store *s, const struct outbox_new *const *rows, uint64_t n,
                       size_t size, struct outbox_err *err)
{
    struct round round = {.s = s, .size = size};
    const struct outbox_exec here = {.size = sizeof here, .ctx = &round, .run = run_here};
    int r = pipeline_begin(&s->conn, err);
    if (r < 0)
        return r;
    /* The name of the table is put in when the statement is sent. */
    for (uint64_t i = 0; r == 0 && i < n; i++) {
        r = sql_insert_message(&casts, rows[i], &here, err);
        if (size == 1 && is_duplicate(s, r))
            r = sql_insert_fail_exists(rows[i], err);
    }
    if (r == 0)
        r = send_round(&round, err);
    arena_reset(&s->conn.scratch);
    return pipeline_end(&s->conn, r, err);
}

/* When an id is there already, the rows go by themselves, to tell which one it is. */
static int save_here(struct store *s, const struct outbox_new *const *rows, uint64_t n,
                     const struct outbox_call *call, struct outbox_err *err)
{
    int r = store_enter(s, call, err);
    if (r < 0)
        return r;
    r = save_rounds(s, rows, n, n > 1 ? ROUND : 1, err);
    return n > 1 && is_duplicate(s, r) ? save_rounds(s, rows, n, 1, err) : r;
}

int op_save(void *instance, const struct outbox_new *const *rows, uint64_t n,
            const struct outbox_exec *exec, const struct outbox_call *call, struct outbox_err *err)
{
    struct store *s = instance;
    struct sql_insert_dialect dialect = casts;
    char *table = NULL;
    int r = OUTBOX_OK;
    if (!exec)
        return save_here(s, rows, n, call, err);
    if (!(table = table_name_render(&s->name, s->conn.schema, "{t}")))
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    dialect.table = table;
    for (uint64_t i = 0; r == 0 && i < n; i++)
        r = sql_insert_message(&dialect, rows[i], exec, err);
    free(table);
    return r;
}
