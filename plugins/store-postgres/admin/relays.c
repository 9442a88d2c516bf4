/* SPDX-License-Identifier: Apache-2.0 */
/* relays.c - the table of relays: each keeps a row, and deletes old ones of any. */
#include "store.h"

int op_relay_put(void *instance, const struct outbox_relay_row *row, const struct outbox_call *call,
                 struct outbox_err *err)
{
    struct store *s = instance;
    int r = store_enter(s, call, err);
    if (r < 0)
        return r;
    struct pg_args args = {.arena = &s->conn.scratch};
    pg_args_text(&args, row->id);
    pg_args_text(&args, row->name);
    pg_args_text(&args, row->config_hash);
    pg_args_text(&args, row->state);
    pg_args_text(&args, row->version);
    pg_args_int(&args, row->clean != 0);
    struct step steps[] = {
        {.stmt = STMT_RELAY_PUT,
         .sql = "INSERT INTO {t_relays} (id, name, config_hash, state, version, started_at,"
                " alive_at, clean) VALUES ($1, $2, $3, $4, $5, clock_timestamp(),"
                " clock_timestamp(), $6 = 1) ON CONFLICT (id) DO UPDATE SET name = $2,"
                " config_hash = $3, state = $4, version = $5, alive_at = clock_timestamp(),"
                " clean = $6 = 1",
         .args = &args},
        {.stmt = STMT_RELAY_TIDY,
         .sql = "DELETE FROM {t_relays} WHERE id IN (SELECT id FROM {t_relays} WHERE alive_at <"
                " statement_timestamp() - interval '1 day' FOR UPDATE SKIP LOCKED)"},
    };
    r = pipeline_run(&s->conn, steps, 2, err);
    pipeline_clear(steps, 2);
    return r;
}

static void read_row(const PGresult *rows, int i, struct outbox_relay_row *row)
{
    *row = (struct outbox_relay_row){
        .size = sizeof *row,
        .id = pg_column_text(rows, i, 0),
        .name = pg_column_text(rows, i, 1),
        .config_hash = pg_column_text(rows, i, 2),
        .state = pg_column_text(rows, i, 3),
        .version = pg_column_text(rows, i, 4),
        .started_us = pg_column_time(rows, i, 5),
        .alive_us = pg_column_time(rows, i, 6),
        .clean = pg_column_int(rows, i, 7) != 0,
    };
}

int op_relay_list(void *instance, const struct outbox_call *call, struct outbox_relay_page **ret,
                  struct outbox_err *err)
{
    struct store *s = instance;
    int r = store_enter(s, call, err);
    if (r < 0)
        return r;
    arena_reset(&s->page.arena);
    PQclear(s->page.rows);
    r = pipeline_query(
        &s->conn, STMT_NONE,
        "SELECT id, name, config_hash, state, version, started_at, alive_at, clean,"
        " clock_timestamp() FROM {t_relays} ORDER BY clean, alive_at DESC LIMIT 1000",
        NULL, &s->page.rows, err);
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
