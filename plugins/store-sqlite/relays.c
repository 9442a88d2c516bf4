/* SPDX-License-Identifier: Apache-2.0 */
/* relays.c - the table of relays: each keeps a row, and any deletes the rows of dead ones. */
#include "db.h"
#include "lives.h"
#include "row.h"

#include <unistd.h>

/* Rows of relays that were not alive for this time are deleted. */
#define TIDY_MS (INT64_C(86400) * 1000)
/* A list has at most this many. */
#define RELAYS_MAX 1000

int relays_put(void *instance, const struct outbox_relay_row *row, const struct outbox_call *call,
               struct outbox_err *err)
{
    struct store *s = instance;
    char now[TIMESTAMP_SIZE];
    int r = connect_enter(s, call, err);
    if (r < 0)
        return r;
    bool has_lock = !row->clean && lives_hold(s, row->id);
    r = db_begin(s, err);
    if (r < 0)
        return r;
    timestamp_format(db_now(s), now);
    r = db_run(
        s, STMT_RELAY_PUT,
        "INSERT INTO \"{t}_relays\" (id, name, config_hash, state, version, started_at, alive_at,"
        " clean, has_lock) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8) ON CONFLICT (id) DO UPDATE"
        " SET name = ?2, config_hash = ?3, state = ?4, version = ?5, alive_at = ?6, clean = ?7,"
        " has_lock = ?8",
        DB_ARGS(DB_TEXT(row->id), DB_TEXT(row->name), DB_TEXT(row->config_hash),
                DB_TEXT(row->state), DB_TEXT(row->version), DB_TEXT(outbox_cstr(now)),
                DB_INT(row->clean != 0), DB_INT(has_lock)),
        err);
    if (r == 0)
        r = db_run(s, STMT_RELAY_TIDY,
                   "DELETE FROM \"{t}_relays\" WHERE outbox_timestamp(alive_at) < ?1",
                   DB_ARGS(DB_INT(db_now_plus(s, -TIDY_MS))), err);
    r = db_end(s, r, err);
    if (r == 0 && row->clean)
        lives_end(s);
    return r;
}

/* `lock`: the file of locks, or -1. */
static int read_row(sqlite3_stmt *q, int lock, struct arena *arena, struct outbox_relay_row **ret)
{
    struct outbox_relay_row *row = arena_array(arena, 1, sizeof *row);
    if (!row || row_text(q, 0, arena, &row->id) < 0 || row_text(q, 1, arena, &row->name) < 0 ||
        row_text(q, 2, arena, &row->config_hash) < 0 || row_text(q, 3, arena, &row->state) < 0 ||
        row_text(q, 4, arena, &row->version) < 0)
        return OUTBOX_E_RETRY;
    row->size = sizeof *row;
    row->started_us = timestamp_column(q, 5);
    row->alive_us = timestamp_column(q, 6);
    row->clean = sqlite3_column_int(q, 7) != 0;
    row->lives = row->clean                 ? OUTBOX_RELAY_DEAD
                 : sqlite3_column_int(q, 8) ? lives_of(lock, row->id)
                                            : OUTBOX_RELAY_UNKNOWN;
    *ret = row;
    return OUTBOX_OK;
}

int relays_list(void *instance, const struct outbox_call *call, struct outbox_relay_page **ret,
                struct outbox_err *err)
{
    struct store *s = instance;
    sqlite3_stmt *q;
    int r = connect_enter(s, call, err);
    if (r == 0)
        r = db_query(s, STMT_ONCE,
                     "SELECT id, name, config_hash, state, version, started_at, alive_at, clean,"
                     " has_lock FROM \"{t}_relays\" ORDER BY clean, alive_at DESC LIMIT ?1",
                     DB_ARGS(DB_INT(RELAYS_MAX)), &q, err);
    if (r < 0)
        return r;
    arena_reset(&s->page_arena);
    struct outbox_relay_page *page = arena_array(&s->page_arena, 1, sizeof *page);
    struct outbox_relay_row **rows = arena_array(&s->page_arena, RELAYS_MAX, sizeof *rows);
    int lock = lives_open(s);
    while (page && rows && (r = db_step(s, q, err)) > 0)
        if (read_row(q, lock, &s->page_arena, &rows[page->n++]) < 0)
            break;
    if (lock >= 0)
        close(lock);
    if (r < 0)
        return r;
    if (!page || !rows || r > 0) {
        sqlite3_reset(q);
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    page->size = sizeof *page;
    page->rows = (const struct outbox_relay_row *const *)rows;
    page->now_us = db_now(s);
    *ret = page;
    return OUTBOX_OK;
}
