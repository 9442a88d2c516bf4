/* SPDX-License-Identifier: Apache-2.0 */
/* list.c - rows for people, page by page. */
#include "admin/filter.h"
#include "claim/row.h"

/* A payload is shown whatever its size. A page ends after so many bytes of all columns, and
 * headers. */
#define PAGE_BYTES INT64_C(16777216)
/* Headers of more bytes are not shown. */
#define HEADERS_MAX 262144
#define COLUMNS ROW_COLUMNS_OF(65536, 262145, 1048576)

static uint32_t status_bit(struct outbox_str name)
{
    return outbox_str_eq(name, outbox_cstr("pending"))      ? OUTBOX_PENDING
           : outbox_str_eq(name, outbox_cstr("processing")) ? OUTBOX_PROCESSING
           : outbox_str_eq(name, outbox_cstr("processed"))  ? OUTBOX_PROCESSED
           : outbox_str_eq(name, outbox_cstr("failed"))     ? OUTBOX_FAILED
                                                            : 0;
}

/* `why`: it cannot be read; or NULL. */
static struct outbox_row *read_row(struct store *s, const PGresult *rows, int i, const char *why)
{
    static const struct message_limits limits = {INT64_MAX, UINT32_MAX, INT64_MAX};
    struct arena *arena = &s->page.arena;
    struct outbox_row *row = arena_array(arena, 1, sizeof *row);
    bool whole;
    struct outbox_message *m =
        row ? row_message(rows, i, HEADERS_MAX, &limits, arena, &whole) : NULL;
    if (!m || (why && row_mark_unreadable(arena, why, m) < 0) ||
        pg_column_uuid(rows, i, ROW_ORIGIN, arena, &row->origin_id) < 0)
        return NULL;
    if (!whole && !m->defect.p)
        m->defect = outbox_cstr("the headers have more than 256 KiB, and are not shown");
    row->size = sizeof *row;
    row->message = m;
    row->status = status_bit(pg_column_text(rows, i, ROW_N_COLUMNS));
    row->last_error = pg_column_text(rows, i, ROW_N_COLUMNS + 1);
    row->lane = pg_column_text(rows, i, ROW_N_COLUMNS + 2);
    row->lane_seq = pg_column_int(rows, i, ROW_N_COLUMNS + 3);
    row->processed_us = pg_column_time(rows, i, ROW_N_COLUMNS + 4);
    row->available_us = pg_column_time(rows, i, ROW_N_COLUMNS + 5);
    return row;
}

/* What a row brings into a page: for each header there is a struct, too. */
#define ROW_BYTES                                                                         \
    "LEAST(octet_length(topic), 65536) + LEAST(octet_length(key), 65536)::int8"           \
    " + COALESCE(octet_length(payload), 0) + CASE WHEN pg_column_size(headers)"           \
    "  > 1048576 THEN 0 ELSE LEAST(COALESCE(octet_length(headers::text), 0), 262144) * 5" \
    " END"
#define SIZES                                                                               \
    "WITH sizes AS MATERIALIZED (SELECT seq, sum(n) OVER (ORDER BY seq) - n AS before FROM" \
    "  (SELECT seq, " ROW_BYTES " AS n FROM ONLY {t} WHERE seq = ANY ($2) OFFSET 0) r)"
#define ROWS(columns, texts)                                                \
    " SELECT " columns ", m.status, " texts ", m.lane_seq, m.processed_at," \
    "  m.available_at FROM ONLY {t} m"
#define TEXTS "pg_catalog.left(m.last_error, 10000), pg_catalog.left(m.lane, 1000)"
static const char page[] = SIZES ROWS(COLUMNS, TEXTS) " JOIN sizes ON sizes.seq = m.seq"
                                                      " WHERE sizes.before < $3 ORDER BY m.seq";
static const char unreadable_page[] = ROWS(UNREADABLE_COLUMNS, TEXTS) " WHERE m.seq = ANY ($2)";
static const char silent_page[] =
    ROWS(UNREADABLE_COLUMNS, "''::text, NULL::text") " WHERE m.seq = ANY ($2)";

/* The rows themselves, as far as their columns fill a page, but one at least. */
static int load(struct store *s, const char *sql, const int64_t *seqs, size_t n, PGresult **ret,
                struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    pg_args_int(&args, INT64_MAX);
    pg_args_ints(&args, seqs, n);
    pg_args_int(&args, PAGE_BYTES);
    return pipeline_query(&s->conn, STMT_NONE, sql, &args, ret, err);
}

/* Loads a page of *n rows. If one of them cannot be read, the page ends before it: it is tried with
 * half of the rows, again and again. The first row alone comes without what is in it, and ret_why
 * is why then. */
static int load_readable(struct store *s, const int64_t *seqs, size_t *n, PGresult **ret,
                         struct outbox_err *ret_why, struct outbox_err *err)
{
    int r = load(s, page, seqs, *n, ret, ret_why);
    while (r < 0 && *n > 1 && failure_is_unreadable_row(&s->conn)) {
        *n /= 2;
        r = load(s, page, seqs, *n, ret, ret_why);
    }
    if (r == OUTBOX_OK)
        ret_why->text[0] = '\0';
    else if (failure_is_unreadable_row(&s->conn)) {
        r = load(s, unreadable_page, seqs, 1, ret, err);
        return r < 0 && failure_is_unreadable_row(&s->conn)
                   ? load(s, silent_page, seqs, 1, ret, err)
                   : r;
    }
    return r < 0 ? outbox_fail(err, r, "%s", ret_why->text) : r;
}

int op_list(void *instance, const struct outbox_filter *filter, int64_t after, uint32_t limit,
            const struct outbox_call *call, struct outbox_page **ret, struct outbox_err *err)
{
    struct store *s = instance;
    struct outbox_err why = {.size = sizeof why};
    int64_t *seqs = NULL;
    size_t n = 0, wanted;
    int r = store_enter(s, call, err);
    if (r < 0)
        return r;
    arena_reset(&s->page.arena);
    /* All of them may have been settled and deleted meanwhile; an empty page would be the end. */
    do {
        PQclear(s->page.rows);
        s->page.rows = NULL;
        r = filter_rows(s, filter, &after, limit, &seqs, &n, err);
        wanted = n;
        if (r == 0)
            r = load_readable(s, seqs, &n, &s->page.rows, &why, err);
        if (n < wanted)
            after = seqs[n - 1];
    } while (r == 0 && n > 0 && PQntuples(s->page.rows) == 0);
    if (r < 0)
        return r;
    int found = PQntuples(s->page.rows);
    struct outbox_page *out = arena_array(&s->page.arena, 1, sizeof *out);
    struct outbox_row **rows = arena_array(&s->page.arena, (size_t)found + 1, sizeof *rows);
    if (!out || !rows)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (int i = 0; i < found; i++)
        if (!(rows[i] = read_row(s, s->page.rows, i, why.text[0] ? why.text : NULL)))
            return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    *out = (struct outbox_page){
        .size = sizeof *out, .n = (uint32_t)found, .rows = (const struct outbox_row *const *)rows};
    *ret = out;
    return OUTBOX_OK;
}
