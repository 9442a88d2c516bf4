/* SPDX-License-Identifier: Apache-2.0 */
/* list.c - rows for people, page by page. */
#include "sqlite.h"

/* A row is shown whatever its size. */
#define NO_LIMIT INT64_MAX
/* A page ends after so many bytes of payload. */
#define PAGE_BYTES ((uint64_t)16 << 20)

#define LIST_COLUMNS      \
    "SELECT " ROW_COLUMNS \
    ", status, last_error, lane, origin_id, lane_seq, processed_at, available_at FROM "
#define LIST LIST_COLUMNS "\"{t}\" WHERE seq > ?2"
/* The index is named: the few failed rows are not looked for among all that are kept. */
#define LIST_FAILED \
    LIST_COLUMNS "\"{t}\" INDEXED BY \"{t}_failed\" WHERE status = 'failed' AND seq > ?2"

static uint32_t status_bit(struct outbox_str name)
{
    return outbox_str_eq(name, outbox_cstr("pending"))      ? OUTBOX_PENDING
           : outbox_str_eq(name, outbox_cstr("processing")) ? OUTBOX_PROCESSING
           : outbox_str_eq(name, outbox_cstr("processed"))  ? OUTBOX_PROCESSED
           : outbox_str_eq(name, outbox_cstr("failed"))     ? OUTBOX_FAILED
                                                            : 0;
}

static int take(struct arena *arena, sqlite3_stmt *q, int column, struct outbox_str *ret)
{
    struct outbox_str text = db_column(q, column);
    return arena_str(arena, text.p, (size_t)text.n, ret);
}

static struct outbox_row *read_row(struct store *s, sqlite3_stmt *q)
{
    struct arena *arena = &s->page_arena;
    struct outbox_row *row = arena_array(arena, 1, sizeof *row);
    if (!row || !(row->message = row_message(q, arena, NO_LIMIT)))
        return NULL;
    row->size = sizeof *row;
    row->status = status_bit(db_column(q, ROW_N_COLUMNS));
    if (take(arena, q, ROW_N_COLUMNS + 1, &row->last_error) < 0 ||
        take(arena, q, ROW_N_COLUMNS + 2, &row->lane) < 0 ||
        take(arena, q, ROW_N_COLUMNS + 3, &row->origin_id) < 0)
        return NULL;
    row->lane_seq = sqlite3_column_int64(q, ROW_N_COLUMNS + 4);
    row->processed_us = moment_column(q, ROW_N_COLUMNS + 5);
    row->available_us = moment_column(q, ROW_N_COLUMNS + 6);
    return row;
}

int list(void *instance, const struct outbox_filter *filter, int64_t after, uint32_t limit,
         const struct outbox_call *call, struct outbox_page **ret, struct outbox_err *err)
{
    struct store *s = instance;
    int r = db_enter(s, call, err);
    if (r < 0)
        return r;
    arena_reset(&s->page_arena);
    struct outbox_page *page = arena_array(&s->page_arena, 1, sizeof *page);
    struct outbox_row **rows = arena_array(&s->page_arena, (size_t)limit + 1, sizeof *rows);
    if (!page || !rows)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    bool dead = filter->statuses == OUTBOX_FAILED && !filter->n_ids;
    sqlite3_stmt *q =
        filter_prepare(s, dead ? LIST_FAILED : LIST, filter, " ORDER BY seq LIMIT ?3", err);
    if (!q)
        return s->failure;
    sqlite3_bind_int64(q, 1, NO_LIMIT);
    sqlite3_bind_int64(q, 2, after);
    sqlite3_bind_int64(q, 3, limit);
    int code = SQLITE_DONE;
    uint64_t bytes = 0;
    while (bytes < PAGE_BYTES && (code = sqlite3_step(q)) == SQLITE_ROW) {
        if (!(rows[page->n] = read_row(s, q))) {
            r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
            break;
        }
        bytes += rows[page->n++]->message->payload.n;
    }
    if (code != SQLITE_DONE && code != SQLITE_ROW && r == 0)
        r = db_fail(s, err);
    sqlite3_finalize(q);
    page->size = sizeof *page;
    page->rows = (const struct outbox_row *const *)rows;
    *ret = page;
    return r;
}
