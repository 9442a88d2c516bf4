/* SPDX-License-Identifier: Apache-2.0 */
/* list.c - rows for people, page by page. */
#include "claim/unreadable_search.h"

/* A row is shown whatever its size; a page ends after so many bytes of payload. */
#define PAGE_BYTES INT64_C(16777216)

static uint32_t status_bit(struct outbox_str name)
{
    return outbox_str_eq(name, outbox_cstr("pending"))      ? OUTBOX_PENDING
           : outbox_str_eq(name, outbox_cstr("processing")) ? OUTBOX_PROCESSING
           : outbox_str_eq(name, outbox_cstr("processed"))  ? OUTBOX_PROCESSED
           : outbox_str_eq(name, outbox_cstr("failed"))     ? OUTBOX_FAILED
                                                            : 0;
}

static struct outbox_row *read_row(struct store *s, const PGresult *rows, int i,
                                   struct outbox_str why)
{
    struct arena *arena = &s->page_arena;
    struct outbox_row *row = arena_array(arena, 1, sizeof *row);
    struct outbox_message *m = row ? row_message(rows, i, arena, INT64_MAX) : NULL;
    if (!m || (why.p && unreadable_mark(arena, why, m) < 0) ||
        column_uuid(rows, i, ROW_ORIGIN, arena, &row->origin_id) < 0)
        return NULL;
    row->size = sizeof *row;
    row->message = m;
    row->status = status_bit(column_text(rows, i, ROW_N_COLUMNS));
    row->last_error = column_text(rows, i, ROW_N_COLUMNS + 1);
    row->lane = column_text(rows, i, ROW_N_COLUMNS + 2);
    row->lane_seq =
        PQgetisnull(rows, i, ROW_N_COLUMNS + 3) ? 0 : column_int(rows, i, ROW_N_COLUMNS + 3);
    row->processed_us = column_time(rows, i, ROW_N_COLUMNS + 4);
    row->available_us = column_time(rows, i, ROW_N_COLUMNS + 5);
    return row;
}

#define PAGE(columns, texts)                                                        \
    "WITH sizes AS (SELECT seq, sum(COALESCE(octet_length(payload), 0))"            \
    "  OVER (ORDER BY seq) - COALESCE(octet_length(payload), 0) AS before FROM {t}" \
    "  WHERE seq = ANY ($2))"                                                       \
    " SELECT " columns ", m.status, " texts ", m.lane_seq, m.processed_at,"         \
    "  m.available_at FROM {t} m JOIN sizes ON sizes.seq = m.seq"                   \
    " WHERE sizes.before < $3 ORDER BY m.seq"
static const char page[] = PAGE(ROW_COLUMNS, "m.last_error, m.lane");
static const char unreadable_page[] = PAGE(UNREADABLE_COLUMNS, "m.last_error, m.lane");
static const char silent_page[] = PAGE(UNREADABLE_COLUMNS, "''::text, NULL::text");

/* The rows themselves, as far as their payloads fill a page, but one at least. */
static int load(struct store *s, const char *sql, const int64_t *seqs, size_t n, PGresult **ret,
                struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    args_int(&args, INT64_MAX);
    args_ints(&args, seqs, n);
    args_int(&args, PAGE_BYTES);
    return db_query(s, SLOT_NONE, sql, &args, ret, err);
}

/* One of the rows cannot be read: the page is what comes before it, or that row, without what is in
 * it; *ret_why is what the server says of it then. *n: rows that the page stands for. */
static int load_despite(struct store *s, const int64_t *seqs, size_t *n, PGresult **ret,
                        struct outbox_str *ret_why, struct outbox_err *err)
{
    struct unreadable found;
    struct candidate *rows = arena_array(&s->scratch, *n, sizeof *rows);
    struct search search = {.rows = rows,
                            .n = *n,
                            .max_message = INT64_MAX,
                            .whole = true,
                            .until_us = INT64_MAX,
                            .found = &found,
                            .max = 1};
    if (!rows)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (size_t i = 0; i < *n; i++)
        rows[i] = (struct candidate){seqs[i], INT64_MAX}; /* one by one */
    int r = unreadable_search(s, &search, err);
    if (r < 0)
        return r;
    if (search.n_found && search.n_read > 1)
        *n = search.n_read - 1;
    if (!search.n_found || search.n_read > 1)
        return load(s, page, seqs, *n, ret, err);
    *n = 1;
    *ret_why = found.why;
    r = load(s, unreadable_page, seqs, 1, ret, err);
    return r < 0 && unreadable_is_why(s) ? load(s, silent_page, seqs, 1, ret, err) : r;
}

int list(void *instance, const struct outbox_filter *filter, int64_t after, uint32_t limit,
         const struct outbox_call *call, struct outbox_page **ret, struct outbox_err *err)
{
    struct store *s = instance;
    struct outbox_str why = {NULL, 0};
    int64_t *seqs = NULL;
    size_t n = 0;
    int r = db_enter(s, call, err);
    if (r < 0)
        return r;
    arena_reset(&s->page_arena);
    /* All of them may have been settled and deleted meanwhile; an empty page would be the end. */
    do {
        PQclear(s->page);
        s->page = NULL;
        why.p = NULL;
        r = filter_rows(s, filter, &after, limit, &seqs, &n, err);
        if (r < 0)
            break;
        r = load(s, page, seqs, n, &s->page, err);
        if (r < 0 && n > 0 && unreadable_is_why(s)) {
            r = load_despite(s, seqs, &n, &s->page, &why, err);
            after = seqs[n - 1];
        }
    } while (r == 0 && n > 0 && PQntuples(s->page) == 0);
    if (r < 0)
        return r;
    int found = PQntuples(s->page);
    struct outbox_page *out = arena_array(&s->page_arena, 1, sizeof *out);
    struct outbox_row **rows = arena_array(&s->page_arena, (size_t)found + 1, sizeof *rows);
    if (!out || !rows)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (int i = 0; i < found; i++)
        if (!(rows[i] = read_row(s, s->page, i, why)))
            return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    *out = (struct outbox_page){
        .size = sizeof *out, .n = (uint32_t)found, .rows = (const struct outbox_row *const *)rows};
    *ret = out;
    return OUTBOX_OK;
}
