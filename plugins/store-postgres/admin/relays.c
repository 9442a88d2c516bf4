/* SPDX-License-Identifier: Apache-2.0 */
/* relays.c - the table of relays: each keeps a row, and deletes old ones of any. */
#include "store.h"

/* Random keys of the lock that are tried. */
#define TRIES 8

/* The lock tells others that this relay lives; it is the session's, and ends with it however that
 * ends. Its keys are the table's oid and a random number, which the row has. Behind a pooler no
 * session is ours. */
static int take_lock(struct store *s, struct outbox_err *err)
{
    bool locked = conn_has_session(&s->conn, s->relay.session);
    int r = OUTBOX_OK;
    for (int i = 0; i < TRIES && r == OUTBOX_OK && !locked && !s->conn.pooled; i++) {
        struct pg_args args = {.arena = &s->conn.scratch};
        int64_t taken = 0, key;
        r = conn_token(&key, err);
        s->relay.key = (int32_t)(key & INT32_MAX);
        pg_args_int(&args, s->conn.oid);
        pg_args_int(&args, s->relay.key);
        if (r == OUTBOX_OK)
            r = pipeline_number(&s->conn,
                                "SELECT pg_catalog.pg_try_advisory_lock($1::int8::oid::int4,"
                                " $2::int8::int4)",
                                &args, &taken, err);
        locked = taken != 0;
    }
    s->relay.session = locked ? s->conn.session : 0;
    return r;
}

static int give_lock_back(struct store *s, struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    int64_t given;
    if (!conn_has_session(&s->conn, s->relay.session))
        return OUTBOX_OK;
    s->relay.session = 0;
    pg_args_int(&args, s->conn.oid);
    pg_args_int(&args, s->relay.key);
    return pipeline_number(&s->conn,
                           "SELECT pg_catalog.pg_advisory_unlock($1::int8::oid::int4,"
                           " $2::int8::int4)",
                           &args, &given, err);
}

static int put(struct store *s, const struct outbox_relay_row *row, struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    pg_args_text(&args, row->id);
    pg_args_text(&args, row->name);
    pg_args_text(&args, row->config_hash);
    pg_args_text(&args, row->state);
    pg_args_text(&args, row->version);
    pg_args_int(&args, row->clean != 0);
    pg_args_int(&args, conn_has_session(&s->conn, s->relay.session) ? s->relay.key : -1);
    struct step steps[] = {
        {.stmt = STMT_RELAY_PUT,
         .sql = "INSERT INTO {t_relays} (id, name, config_hash, state, version, started_at,"
                " alive_at, clean, lock) VALUES ($1, $2, $3, $4, $5, clock_timestamp(),"
                " clock_timestamp(), $6 = 1, NULLIF($7, -1)::int4) ON CONFLICT (id) DO UPDATE SET"
                " name = $2, config_hash = $3, state = $4, version = $5,"
                " alive_at = clock_timestamp(), clean = $6 = 1, lock = NULLIF($7, -1)::int4",
         .args = &args},
        {.stmt = STMT_RELAY_TIDY,
         .sql = "DELETE FROM {t_relays} WHERE id IN (SELECT id FROM {t_relays} WHERE alive_at <"
                " statement_timestamp() - interval '1 day' FOR UPDATE SKIP LOCKED)"},
    };
    int r = pipeline_run(&s->conn, steps, 2, err);
    pipeline_clear(steps, 2);
    return r;
}

int op_relay_put(void *instance, const struct outbox_relay_row *row, const struct outbox_call *call,
                 struct outbox_err *err)
{
    struct store *s = instance;
    int r = store_enter(s, call, err);
    if (r == OUTBOX_OK && !row->clean)
        r = take_lock(s, err);
    if (r == OUTBOX_OK)
        r = put(s, row, err);
    return r == OUTBOX_OK && row->clean ? give_lock_back(s, err) : r;
}

/* In order of time, and of this world: the host counts with it. */
static int64_t sane_time(const PGresult *rows, int i, int column, int64_t now)
{
    int64_t us = pg_column_time(rows, i, column);
    return us < 0 ? 0 : us < now ? us : now;
}

static void read_row(const PGresult *rows, int i, struct outbox_relay_row *row)
{
    int64_t now = pg_column_time(rows, i, 8);
    *row = (struct outbox_relay_row){
        .size = sizeof *row,
        .id = pg_column_text(rows, i, 0),
        .name = pg_column_text(rows, i, 1),
        .config_hash = pg_column_text(rows, i, 2),
        .state = pg_column_text(rows, i, 3),
        .version = pg_column_text(rows, i, 4),
        .started_us = sane_time(rows, i, 5, now),
        .alive_us = sane_time(rows, i, 6, now),
        .clean = pg_column_int(rows, i, 7) != 0,
        .lives = (uint32_t)pg_column_int(rows, i, 9),
    };
}

/* The last column is OUTBOX_RELAY_UNKNOWN, LIVES or DEAD. A server that was started after the row
 * was written has no lock of anybody's. $1: the table. */
static const char list_text[] =
    "SELECT r.id, r.name, r.config_hash, r.state, r.version, r.started_at, r.alive_at, r.clean,"
    " clock_timestamp(), CASE WHEN r.lock IS NULL OR r.alive_at < "
    "pg_catalog.pg_postmaster_start_time()"
    "  THEN 0 WHEN EXISTS (SELECT 1 FROM"
    "  pg_catalog.pg_locks l WHERE l.locktype = 'advisory' AND l.database = (SELECT oid FROM"
    "   pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
    "  AND l.classid = $1::int8::oid AND l.objid = r.lock::oid AND l.objsubid = 2 AND l.granted)"
    " THEN 1 ELSE 2 END FROM {t_relays} r ORDER BY r.clean, r.alive_at DESC LIMIT 1000";

int op_relay_list(void *instance, const struct outbox_call *call, struct outbox_relay_page **ret,
                  struct outbox_err *err)
{
    struct store *s = instance;
    int r = store_enter(s, call, err);
    if (r < 0)
        return r;
    arena_reset(&s->page.arena);
    PQclear(s->page.rows);
    struct pg_args args = {.arena = &s->conn.scratch};
    pg_args_int(&args, s->conn.oid);
    r = pipeline_query(&s->conn, STMT_NONE, list_text, &args, &s->page.rows, err);
    if (r < 0)
        return r;
    int n = PQntuples(s->page.rows);
    struct outbox_relay_page *page = arena_array(&s->page.arena, 1, sizeof *page);
    struct outbox_relay_row *rows = arena_array(&s->page.arena, (size_t)n + 1, sizeof *rows);
    const struct outbox_relay_row **pointers =
        arena_array(&s->page.arena, (size_t)n + 1, sizeof *pointers);
    if (!page || !rows || !pointers)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (int i = 0; i < n; i++) {
        read_row(s->page.rows, i, &rows[i]);
        pointers[i] = &rows[i];
    }
    *page = (struct outbox_relay_page){.size = sizeof *page,
                                       .n = (uint32_t)n,
                                       .rows = pointers,
                                       .now_us = n > 0 ? pg_column_time(s->page.rows, 0, 8)
                                                       : s->host->now_us(s->host)};
    *ret = page;
    return OUTBOX_OK;
}
