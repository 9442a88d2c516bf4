/* SPDX-License-Identifier: Apache-2.0 */
/*
 * purge.c - rows that are through and old are deleted, a page in one statement. If the database
 * refuses one of them, the page is deleted row by row, and what stays is left alone for a while.
 */
#include "admin/change.h"
#include "admin/filter.h"

#include <inttypes.h>
#include <stdlib.h>

/* $1 the limit, $2 the age, $3 rows to leave alone; an index ends the search. */
#define OLD_PROCESSED                                                      \
    "m.status = 'processed' AND m.processed_at <= statement_timestamp() -" \
    " $2::int8::float8 * interval '1 millisecond' AND m.seq <> ALL ($3)"
#define BY_HAND \
    "m.status = 'processed' AND m.processed_at IS NULL AND $2 IS NOT NULL AND m.seq <> ALL ($3)"
#define OLD_FAILED "m.status = 'failed' AND $2 IS NOT NULL AND m.seq <> ALL ($3)"

#define PAGE "WITH page AS (SELECT m.ctid FROM ONLY {t} m WHERE "
#define PAGE_END(status)                                                                         \
    " LIMIT $1 FOR UPDATE SKIP LOCKED), gone AS (DELETE FROM ONLY {t} WHERE ctid = ANY (ARRAY (" \
    "SELECT ctid FROM page)) AND status = '" status "' RETURNING 1)"                             \
    " SELECT (SELECT count(*) FROM page), (SELECT count(*) FROM gone)"
#define SEQS "SELECT m.seq FROM ONLY {t} m WHERE "

static const struct purge {
    uint32_t status;
    const char *page[2]; /* what is in front of the filter's conditions, and behind them */
    const char *seqs[2];
} purges[] = {
    {OUTBOX_PROCESSED,
     {PAGE OLD_PROCESSED, " ORDER BY m.processed_at" PAGE_END("processed")},
     {SEQS OLD_PROCESSED, " ORDER BY m.processed_at LIMIT $1"}},
    /* marked by hand */
    {OUTBOX_PROCESSED, {PAGE BY_HAND, PAGE_END("processed")}, {SEQS BY_HAND, " LIMIT $1"}},
    {OUTBOX_FAILED,
     {PAGE OLD_FAILED, " ORDER BY m.seq" PAGE_END("failed")},
     {SEQS OLD_FAILED, " ORDER BY m.seq LIMIT $1"}},
};

/* ---- one by one ---- */

static void keep(struct store *s, int64_t seq, const char *why)
{
    quarantine_add(&s->kept, seq, deadline_now_us(&s->conn.deadline), why);
}

#define THESE "WHERE seq = ANY ($1) AND status IN ('processed', 'failed')"

static int delete_rows(struct store *s, const int64_t *seqs, size_t n, uint64_t *ret_n,
                       struct outbox_err *err)
{
    static const struct change_sql sql = {"DELETE FROM ONLY {t} " THESE,
                                          "SELECT seq FROM ONLY {t} " THESE};
    struct change change = {.n = 0};
    int r = change_rows(s, &sql, seqs, n, keep, &change, err);
    *ret_n += change.n;
    if (change.n_refused > 0)
        outbox_logf(s->host, OUTBOX_LOG_WARNING,
                    "%" PRIu64 " old messages of %s.%s cannot be deleted, among them that with seq "
                    "%" PRId64 "; they are left alone for a while: %s",
                    change.n_refused, s->conn.schema, s->name.table, change.refused, change.why);
    return r;
}

/* ---- a page ---- */

static int query(struct store *s, const char *const sql[2], const struct outbox_filter *filter,
                 uint32_t limit, PGresult **ret, struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    int64_t age = filter->older_than_ms;
    size_t n_kept;
    const int64_t *kept = quarantine_active(&s->kept, deadline_now_us(&s->conn.deadline), &n_kept);
    pg_args_int(&args, limit);
    pg_args_int(&args, age < 0 ? 0 : age < TIME_MAX_MS ? age : TIME_MAX_MS);
    pg_args_ints(&args, kept, n_kept);
    char *text = filter_sql(sql[0], filter, sql[1], &args);
    *ret = NULL;
    if (!text)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    int r = pipeline_query(&s->conn, STMT_NONE, text, &args, ret, err);
    free(text);
    return r;
}

static int delete_apart(struct store *s, const struct purge *purge,
                        const struct outbox_filter *filter, uint32_t limit, uint64_t *ret_n,
                        struct outbox_err *err)
{
    PGresult *rows;
    arena_reset(&s->page.arena);
    int64_t *seqs = arena_array(&s->page.arena, (size_t)limit + 1, sizeof *seqs);
    int r = query(s, purge->seqs, filter, limit, &rows, err);
    int n = PQntuples(rows);
    for (int i = 0; seqs && i < n; i++)
        seqs[i] = pg_column_int(rows, i, 0);
    PQclear(rows);
    if (r == OUTBOX_OK && !seqs)
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    return r < 0 ? r : delete_rows(s, seqs, (size_t)n, ret_n, err);
}

static int delete_page(struct store *s, const struct purge *purge,
                       const struct outbox_filter *filter, uint32_t limit, uint64_t *ret_n,
                       struct outbox_err *err)
{
    PGresult *counts;
    int64_t gone = 0;
    int r = query(s, purge->page, filter, limit, &counts, err);
    bool apart = r < 0 && s->conn.db && r != OUTBOX_E_TIMEOUT;
    if (r == OUTBOX_OK) { /* a trigger may have skipped some */
        gone = pg_column_int(counts, 0, 1);
        apart = gone < pg_column_int(counts, 0, 0);
    }
    PQclear(counts);
    *ret_n += (uint64_t)gone;
    return apart ? delete_apart(s, purge, filter, limit - (uint32_t)gone, ret_n, err) : r;
}

/* Until something went, or nothing is left but what cannot go. */
static int purge_by_index(struct store *s, const struct purge *purge,
                          const struct outbox_filter *filter, uint32_t limit, uint64_t *ret_n,
                          struct outbox_err *err)
{
    uint64_t n = 0;
    size_t kept;
    int r;
    do {
        kept = s->kept.n;
        r = delete_page(s, purge, filter, limit, &n, err);
    } while (r == OUTBOX_OK && n == 0 && s->kept.n > kept);
    *ret_n += n;
    return r;
}

/* A pattern picks among them: all are read. */
static int purge_by_topic(struct store *s, const struct outbox_filter *filter, uint32_t limit,
                          uint64_t *ret_n, struct outbox_err *err)
{
    int64_t *seqs, after = INT64_MIN, now = deadline_now_us(&s->conn.deadline);
    size_t n, wanted;
    int r;
    do {
        arena_reset(&s->page.arena);
        r = filter_rows(s, filter, &after, limit, &seqs, &n, err);
        wanted = 0;
        for (size_t i = 0; r == OUTBOX_OK && i < n; i++)
            if (!quarantine_has(&s->kept, seqs[i], now))
                seqs[wanted++] = seqs[i];
        if (r == OUTBOX_OK)
            r = delete_rows(s, seqs, wanted, ret_n, err);
    } while (r == OUTBOX_OK && n > 0 && *ret_n == 0);
    return r;
}

int op_purge(void *instance, const struct outbox_filter *filter, uint32_t limit,
             const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err)
{
    struct store *s = instance;
    struct outbox_filter rest = *filter;
    uint32_t statuses = filter->statuses ? filter->statuses : OUTBOX_PROCESSED | OUTBOX_FAILED;
    *ret_n = 0;
    if (statuses & ~(OUTBOX_PROCESSED | OUTBOX_FAILED))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "only processed and failed messages can be deleted");
    int r = store_enter(s, call, err);
    rest.statuses = statuses;
    if (r == 0 && filter->topic.p)
        return purge_by_topic(s, &rest, limit, ret_n, err);
    rest.statuses = 0;
    for (size_t i = 0; r == 0 && i < sizeof purges / sizeof purges[0]; i++)
        if ((statuses & purges[i].status) && *ret_n < limit)
            r = purge_by_index(s, &purges[i], &rest, limit - (uint32_t)*ret_n, ret_n, err);
    return r;
}
