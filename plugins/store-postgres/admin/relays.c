/* SPDX-License-Identifier: Apache-2.0 */
/* relays.c - the table of relays: each keeps a row, any tidies up after the dead. */
#include "postgres.h"

int relay_put(void *instance, const struct outbox_relay_row *row, const struct outbox_call *call,
              struct outbox_err *err)
{
    struct store *s = instance;
    int r = db_enter(s, call, err);
    if (r < 0)
        return r;
    struct args args = {.arena = &s->scratch};
    args_text(&args, row->id);
    args_text(&args, row->name);
    args_text(&args, row->config_hash);
    args_text(&args, row->state);
    args_text(&args, row->version);
    args_int(&args, row->clean != 0);
    struct step steps[] = {
        {.slot = SLOT_RELAY_PUT,
         .sql = "INSERT INTO {t_relays} (id, name, config_hash, state, version, started_at,"
                " alive_at, clean) VALUES ($1, $2, $3, $4, $5, clock_timestamp(),"
                " clock_timestamp(), $6 = 1) ON CONFLICT (id) DO UPDATE SET name = $2,"
                " config_hash = $3, state = $4, version = $5, alive_at = clock_timestamp(),"
                " clean = $6 = 1",
         .args = &args},
        {.slot = SLOT_RELAY_TIDY,
         .sql = "DELETE FROM {t_relays} WHERE id IN (SELECT id FROM {t_relays} WHERE alive_at <"
                " statement_timestamp() - interval '1 day' FOR UPDATE SKIP LOCKED)"},
    };
    r = db_run(s, steps, 2, err);
    if (r < 0)
        return r;
    PQclear(steps[0].result);
    PQclear(steps[1].result);
    return OUTBOX_OK;
}

static void read_row(const PGresult *rows, int i, struct outbox_relay_row *row)
{
    *row = (struct outbox_relay_row){
        .size = sizeof *row,
        .id = column_text(rows, i, 0),
        .name = column_text(rows, i, 1),
        .config_hash = column_text(rows, i, 2),
        .state = column_text(rows, i, 3),
        .version = column_text(rows, i, 4),
        .started_us = column_time(rows, i, 5),
        .alive_us = column_time(rows, i, 6),
        .clean = column_int(rows, i, 7) != 0,
    };
}

int relay_list(void *instance, const struct outbox_call *call, struct outbox_relay_page **ret,
               struct outbox_err *err)
{
    struct store *s = instance;
    int r = db_enter(s, call, err);
    if (r < 0)
        return r;
    arena_reset(&s->page_arena);
    PQclear(s->page);
    struct args none = {.arena = &s->scratch};
    r = db_query(s, SLOT_NONE,
                 "SELECT id, name, config_hash, state, version, started_at, alive_at, clean,"
                 " clock_timestamp() FROM {t_relays} ORDER BY clean, alive_at DESC LIMIT 1000",
                 &none, &s->page, err);
    if (r < 0)
        return r;
    int n = PQntuples(s->page);
    struct outbox_relay_page *page = arena_array(&s->page_arena, 1, sizeof *page);
    struct outbox_relay_row *rows = arena_array(&s->page_arena, (size_t)n + 1, sizeof *rows);
    const struct outbox_relay_row **pointers =
        arena_array(&s->page_arena, (size_t)n + 1, sizeof *pointers);
    if (!page || !rows || !pointers)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (int i = 0; i < n; i++) {
        read_row(s->page, i, &rows[i]);
        pointers[i] = &rows[i];
    }
    *page = (struct outbox_relay_page){.size = sizeof *page,
                                       .n = (uint32_t)n,
                                       .rows = pointers,
                                       .now_us = n > 0 ? column_time(s->page, 0, 8)
                                                       : s->host->now_us(s->host)};
    *ret = page;
    return OUTBOX_OK;
}
