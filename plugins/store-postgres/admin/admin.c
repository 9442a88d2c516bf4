/* SPDX-License-Identifier: Apache-2.0 */
/* admin.c - requeue and discard of failed rows, and purge of old ones. */
#include "admin/filter.h"

#include <stdlib.h>

/* Runs SQL, whose $1 are the rows, and counts what it changed. */
static int change_rows(struct store *s, const char *sql, const int64_t *seqs, size_t n,
                       uint64_t *ret_n, struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    uint64_t changed;
    if (n == 0)
        return OUTBOX_OK;
    pg_args_ints(&args, seqs, n);
    int r = pipeline_change(&s->conn, STMT_NONE, sql, &args, &changed, err);
    *ret_n += changed;
    return r;
}

/* ---- requeue, discard: failed rows ---- */

static int change_failed(struct store *s, const char *sql, const struct outbox_filter *filter,
                         int64_t *after, uint32_t limit, const struct outbox_call *call,
                         uint64_t *ret_n, struct outbox_err *err)
{
    struct outbox_filter failed = *filter;
    int64_t *seqs, at = *after;
    size_t n = 0;
    *ret_n = 0;
    if (filter->statuses && !(filter->statuses & OUTBOX_FAILED))
        return OUTBOX_OK;
    failed.statuses = OUTBOX_FAILED;
    int r = store_enter(s, call, err);
    if (r < 0)
        return r;
    arena_reset(&s->page.arena);
    /* Others may be faster with all of them: then the next ones, so that 0 means the end. */
    do {
        r = filter_rows(s, &failed, &at, limit, &seqs, &n, err);
        if (r == 0)
            r = change_rows(s, sql, seqs, n, ret_n, err);
    } while (r == 0 && n > 0 && *ret_n == 0);
    if (r == 0 && *ret_n > 0)
        *after = seqs[n - 1];
    return r;
}

int op_requeue(void *instance, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
               const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err)
{
    return change_failed(instance,
                         "UPDATE {t} SET status = 'pending', retries = 0, lane = NULL, lane_seq ="
                         " NULL, available_at = NULL, processed_at = NULL, lease = NULL"
                         " WHERE seq = ANY ($1) AND status = 'failed'",
                         filter, after, limit, call, ret_n, err);
}

int op_discard(void *instance, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
               const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err)
{
    return change_failed(instance, "DELETE FROM {t} WHERE seq = ANY ($1) AND status = 'failed'",
                         filter, after, limit, call, ret_n, err);
}

/* ---- purge ---- */

#define PURGE "DELETE FROM {t} WHERE ctid = ANY (ARRAY (SELECT m.ctid FROM {t} m WHERE "
#define PURGE_END " LIMIT $1 FOR UPDATE SKIP LOCKED))"

/* $1 the limit, $2 the age, so that an index ends the search. */
static const struct purge {
    uint32_t status;
    const char *head;
    const char *tail;
} purges[] = {
    {OUTBOX_PROCESSED,
     PURGE "m.status = 'processed' AND m.processed_at <= statement_timestamp() -"
           " $2::int8::float8 * interval '1 millisecond'",
     " ORDER BY m.processed_at" PURGE_END},
    /* marked by hand */
    {OUTBOX_PROCESSED, PURGE "m.status = 'processed' AND m.processed_at IS NULL AND $2 IS NOT NULL",
     PURGE_END},
    {OUTBOX_FAILED, PURGE "m.status = 'failed' AND $2 IS NOT NULL", " ORDER BY m.seq" PURGE_END},
};

static int purge_by_index(struct store *s, const struct purge *purge,
                          const struct outbox_filter *filter, uint32_t limit, uint64_t *ret_n,
                          struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    uint64_t changed = 0;
    int64_t age = filter->older_than_ms;
    pg_args_int(&args, limit);
    pg_args_int(&args, age < 0 ? 0 : age < TIME_MAX_MS ? age : TIME_MAX_MS);
    char *sql = filter_sql(purge->head, filter, purge->tail, &args);
    if (!sql)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    int r = pipeline_change(&s->conn, STMT_NONE, sql, &args, &changed, err);
    free(sql);
    *ret_n += changed;
    return r;
}

/* A pattern picks among them: all are read. */
static int purge_by_topic(struct store *s, const struct outbox_filter *filter, uint32_t limit,
                          uint64_t *ret_n, struct outbox_err *err)
{
    int64_t *seqs, after = INT64_MIN;
    size_t n = 0;
    arena_reset(&s->page.arena);
    int r = filter_rows(s, filter, &after, limit, &seqs, &n, err);
    if (r < 0)
        return r;
    return change_rows(s,
                       "DELETE FROM {t} WHERE seq = ANY ($1) AND status IN ('processed', 'failed')",
                       seqs, n, ret_n, err);
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
