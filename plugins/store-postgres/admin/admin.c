/* SPDX-License-Identifier: Apache-2.0 */
/* admin.c - requeue and discard of failed rows. */
#include "admin/change.h"
#include "admin/filter.h"

#include <inttypes.h>

/* A person reads which one it is. */
static void tell(struct store *s, int64_t seq, const char *why)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    PGresult *row;
    pg_args_int(&args, seq);
    int r = pipeline_query(&s->conn, STMT_NONE, "SELECT id::text FROM ONLY {t} WHERE seq = $1",
                           &args, &row, NULL);
    outbox_logf(s->host, OUTBOX_LOG_WARNING, "the message %s (seq %" PRId64 ") stays failed: %s",
                r == OUTBOX_OK && PQntuples(row) > 0 ? PQgetvalue(row, 0, 0) : "", seq, why);
    PQclear(row);
}

static int change_failed(struct store *s, const struct change_sql *sql,
                         const struct outbox_filter *filter, int64_t *after, uint32_t limit,
                         const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err)
{
    struct outbox_filter failed = *filter;
    struct change change = {.n = 0};
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
        if (r == 0 && n > 0)
            r = change_rows(s, sql, seqs, n, tell, &change, err);
    } while (r == 0 && n > 0 && change.n == 0);
    if (r == 0 && change.n == 0 && change.n_refused > 0)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the message with seq %" PRId64 " stays failed: %s", change.refused,
                           change.why);
    *ret_n = change.n;
    if (change.n > 0)
        *after = seqs[n - 1] > INT64_MIN ? seqs[n - 1] : INT64_MIN + 1;
    return r;
}

#define THESE "WHERE seq = ANY ($1) AND status = 'failed'"
#define LEFT "SELECT seq FROM ONLY {t} " THESE

int op_requeue(void *instance, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
               const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err)
{
    static const struct change_sql sql = {
        "UPDATE ONLY {t} SET status = 'pending', retries = 0, lane = NULL, lane_seq = NULL,"
        " available_at = NULL, processed_at = NULL, lease = NULL " THESE,
        LEFT};
    return change_failed(instance, &sql, filter, after, limit, call, ret_n, err);
}

int op_discard(void *instance, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
               const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err)
{
    static const struct change_sql sql = {"DELETE FROM ONLY {t} " THESE, LEFT};
    return change_failed(instance, &sql, filter, after, limit, call, ret_n, err);
}
