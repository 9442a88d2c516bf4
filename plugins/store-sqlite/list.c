/* SPDX-License-Identifier: Apache-2.0 */
/* list.c - rows for people, page by page. */
#include "db.h"
#include "row.h"

#include <outbox/helpers.h>

/* A payload is shown whatever its size; headers of more bytes are not. */
#define NO_LIMIT INT64_MAX
#define HEADERS_MAX 262144
/* A page ends after so many bytes of all columns, and headers. */
#define PAGE_BYTES ((uint64_t)16 << 20)

/* The columns of a row besides those of its message. */
enum {
    LIST_STATUS = ROW_N_COLUMNS,
    LIST_LAST_ERROR,
    LIST_LANE,
    LIST_LANE_SEQ,
    LIST_PROCESSED_AT,
    LIST_AVAILABLE_AT
};
#define MESSAGE ROW_COLUMNS("?1", "262144")
#define COLUMNS                                                                        \
    "SELECT " MESSAGE ", status, substr(last_error, 1, 10000), substr(lane, 1, 1000)," \
    " lane_seq, processed_at, outbox_due(available_at) FROM "
#define LIST COLUMNS "\"{t}\" WHERE seq >= ?2"
/* The index is named: the few failed rows are not looked for among all that are kept. */
#define LIST_FAILED \
    COLUMNS "\"{t}\" INDEXED BY \"{t}_failed\" WHERE status = 'failed' AND seq >= ?2"

static uint32_t status_bit(struct outbox_str name)
{
    return outbox_str_eq(name, outbox_cstr("pending"))      ? OUTBOX_PENDING
           : outbox_str_eq(name, outbox_cstr("processing")) ? OUTBOX_PROCESSING
           : outbox_str_eq(name, outbox_cstr("processed"))  ? OUTBOX_PROCESSED
           : outbox_str_eq(name, outbox_cstr("failed"))     ? OUTBOX_FAILED
                                                            : 0;
}

static int read_row(sqlite3_stmt *q, struct arena *arena, struct outbox_row **ret)
{
    static const struct message_limits limits = {NO_LIMIT, UINT32_MAX, NO_LIMIT};
    struct outbox_row *row = arena_array(arena, 1, sizeof *row);
    struct outbox_message *message;
    int available = sqlite3_column_type(q, LIST_AVAILABLE_AT);
    if (!row || row_message(q, &limits, arena, &message) < 0 ||
        row_text(q, LIST_LAST_ERROR, arena, &row->last_error) < 0 ||
        row_text(q, LIST_LANE, arena, &row->lane) < 0 ||
        row_text(q, ROW_ORIGIN_ID, arena, &row->origin_id) < 0)
        return OUTBOX_E_RETRY;
    if (row_sizes(q).headers > HEADERS_MAX && !message->defect.p)
        message->defect = outbox_cstr("the headers have more than 256 KiB, and are not shown");
    row->size = sizeof *row;
    row->message = message;
    row->status = status_bit(db_column(q, LIST_STATUS));
    row->lane_seq = sqlite3_column_int64(q, LIST_LANE_SEQ);
    row->processed_us = timestamp_column(q, LIST_PROCESSED_AT);
    if (available == SQLITE_INTEGER || available == SQLITE_FLOAT)
        row->available_us = sqlite3_column_int64(q, LIST_AVAILABLE_AT);
    *ret = row;
    return OUTBOX_OK;
}

static uint64_t page_bytes(const struct outbox_message *m)
{
    uint64_t n = m->row_id.n + m->topic.n + m->key.n + m->payload.n;
    for (uint64_t i = 0; i < m->n_headers; i++)
        n += sizeof m->headers[i] + m->headers[i].name.n + m->headers[i].value.n;
    return n;
}

int list(void *instance, const struct outbox_filter *filter, int64_t after, uint32_t limit,
         const struct outbox_call *call, struct outbox_page **ret, struct outbox_err *err)
{
    struct store *s = instance;
    sqlite3_stmt *q;
    int r = connect_enter(s, call, err);
    if (r < 0)
        return r;
    arena_reset(&s->page_arena);
    struct outbox_page *page = arena_array(&s->page_arena, 1, sizeof *page);
    struct outbox_row **rows = arena_array(&s->page_arena, (size_t)limit + 1, sizeof *rows);
    if (!page || !rows)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    page->size = sizeof *page;
    page->rows = (const struct outbox_row *const *)rows;
    *ret = page;
    if (after == INT64_MAX)
        return OUTBOX_OK;
    bool failed = filter->statuses == OUTBOX_FAILED && !filter->n_ids;
    r = filter_query(s, failed ? LIST_FAILED : LIST, filter, " ORDER BY seq LIMIT ?3",
                     DB_ARGS(DB_INT(NO_LIMIT), DB_INT(filter_first(after)), DB_INT(limit)), &q,
                     err);
    if (r < 0)
        return r;
    uint64_t bytes = 0;
    while (bytes < PAGE_BYTES && (r = db_step(s, q, err)) > 0) {
        if (read_row(q, &s->page_arena, &rows[page->n]) < 0) {
            r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
            break;
        }
        bytes += page_bytes(rows[page->n++]->message);
    }
    if (s->db)
        sqlite3_reset(q);
    return r < 0 ? r : OUTBOX_OK;
}
