/* SPDX-License-Identifier: Apache-2.0 */
/* relays.c - the table of relays: each keeps a row, any tidies up after the dead. */
#include "sqlite.h"

/* Rows of relays that gave no sign for so long are deleted. */
#define TIDY_MS (INT64_C(86400) * 1000)

int relay_put(void *instance, const struct outbox_relay_row *row, const struct outbox_call *call,
              struct outbox_err *err)
{
    struct store *s = instance;
    char now[MOMENT_SIZE], old[MOMENT_SIZE];
    int r = db_enter(s, call, err);
    if (r == 0)
        r = db_begin(s, err);
    if (r < 0)
        return r;
    sqlite3_stmt *q = db_statement(
        s, SLOT_RELAY_PUT,
        "INSERT INTO \"{t}_relays\" (id, name, config_hash, state, version, started_at, alive_at,"
        " clean) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7) ON CONFLICT (id) DO UPDATE SET"
        " name = ?2, config_hash = ?3, state = ?4, version = ?5, alive_at = ?6, clean = ?7",
        err);
    if (q) {
        db_bind(q, 1, row->id);
        db_bind(q, 2, row->name);
        db_bind(q, 3, row->config_hash);
        db_bind(q, 4, row->state);
        db_bind(q, 5, row->version);
        db_bind(q, 6, outbox_cstr(moment_format(db_now(s), now)));
        sqlite3_bind_int(q, 7, row->clean != 0);
    }
    r = db_run(s, q, err);
    if (r == 0) {
        q = db_statement(s, SLOT_RELAY_TIDY, "DELETE FROM \"{t}_relays\" WHERE alive_at < ?1", err);
        if (q)
            db_bind(q, 1, outbox_cstr(moment_format(db_now_plus(s, -TIDY_MS), old)));
        r = db_run(s, q, err);
    }
    return r < 0 ? db_rollback(s, r) : db_commit(s, err);
}

static struct outbox_relay_row *read_row(struct store *s, sqlite3_stmt *q)
{
    struct outbox_relay_row *row = arena_array(&s->page_arena, 1, sizeof *row);
    if (!row)
        return NULL;
    struct outbox_str *const texts[] = {&row->id, &row->name, &row->config_hash, &row->state,
                                        &row->version};
    row->size = sizeof *row;
    for (int i = 0; i < 5; i++) {
        struct outbox_str text = db_column(q, i);
        if (arena_str(&s->page_arena, text.p, (size_t)text.n, texts[i]) < 0)
            return NULL;
    }
    row->started_us = moment_column(q, 5);
    row->alive_us = moment_column(q, 6);
    row->clean = sqlite3_column_int(q, 7) != 0;
    return row;
}

int relay_list(void *instance, const struct outbox_call *call, struct outbox_relay_page **ret,
               struct outbox_err *err)
{
    enum { MOST = 1000 };
    struct store *s = instance;
    int r = db_enter(s, call, err);
    if (r < 0)
        return r;
    arena_reset(&s->page_arena);
    struct outbox_relay_page *page = arena_array(&s->page_arena, 1, sizeof *page);
    struct outbox_relay_row **rows = arena_array(&s->page_arena, MOST, sizeof *rows);
    sqlite3_stmt *q =
        db_prepare(s,
                   "SELECT id, name, config_hash, state, version, started_at, alive_at, clean"
                   " FROM \"{t}_relays\" ORDER BY clean, alive_at DESC LIMIT 1000",
                   err);
    if (!q)
        return s->failure;
    int code = SQLITE_NOMEM;
    while (page && rows && (code = sqlite3_step(q)) == SQLITE_ROW)
        if (!(rows[page->n++] = read_row(s, q)))
            break;
    sqlite3_finalize(q);
    if (code != SQLITE_DONE)
        return page && rows ? db_fail(s, err) : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    page->size = sizeof *page;
    page->rows = (const struct outbox_relay_row *const *)rows;
    page->now_us = db_now(s);
    *ret = page;
    return OUTBOX_OK;
}
