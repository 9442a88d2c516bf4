/* SPDX-License-Identifier: Apache-2.0 */
/* admin.c - requeue and discard of failed rows, purge of old ones. */
#include "db.h"
#include "row.h"
#include "rows.h"

#include <inttypes.h>

/* ---- requeue, discard: failed rows ---- */

/* The index is named: the few failed rows are not looked for among all that are kept. Ids have
 * an index of their own. */
#define FAILED(index) "SELECT seq FROM \"{t}\"" index " WHERE status = 'failed' AND seq >= ?2"
#define BY_FAILED " INDEXED BY \"{t}_failed\""

/* The next rows of the filter, in the order of seq. */
static int find_failed(struct store *s, const struct outbox_filter *filter, int64_t after,
                       uint32_t limit, struct rows *ret, struct outbox_err *err)
{
    struct outbox_filter failed = *filter;
    sqlite3_stmt *q;
    failed.statuses = 0; /* the statement says that they are failed */
    ret->n = 0;
    if (after == INT64_MAX)
        return OUTBOX_OK;
    int r = filter_query(s, filter->n_ids ? FAILED("") : FAILED(BY_FAILED), &failed,
                         " ORDER BY seq LIMIT ?3",
                         DB_ARGS(DB_NULL, DB_INT(filter_first(after)), DB_INT(limit)), &q, err);
    return r < 0 ? r : rows_read(s, q, ret, err);
}

/* Goes on to the next rows where none of these could be changed: 0 would mean that it is done. */
static int change_failed(struct store *s, const struct rows_change *change,
                         const struct outbox_filter *filter, int64_t *after, uint32_t limit,
                         const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err)
{
    struct rows rows = {0};
    *ret_n = 0;
    if (filter->statuses && !(filter->statuses & OUTBOX_FAILED))
        return OUTBOX_OK;
    int r = connect_enter(s, call, err);
    do {
        if (r == 0)
            r = find_failed(s, filter, *after, limit, &rows, err);
        if (r == 0)
            r = rows_apply(s, &rows, change, ret_n, err);
        if (r == 0 && rows.n > 0)
            *after = rows.seqs[rows.n - 1];
    } while (r == 0 && *ret_n == 0 && rows.n > 0);
    rows_free(&rows);
    if (r == 0 && *ret_n == 0 && s->refused.last != INT64_MIN)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the message with seq %" PRId64 " stays failed: %s", s->refused.last,
                           s->row_fault);
    return r;
}

int admin_requeue(void *instance, const struct outbox_filter *filter, int64_t *after,
                  uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                  struct outbox_err *err)
{
    static const struct rows_change requeue = {
        ROWS_UPDATE("status = 'pending', retries = 0, lane = NULL, lane_seq = NULL,"
                    " available_at = NULL, processed_at = NULL",
                    "status = 'failed'"),
        .is_persons = true};
    return change_failed(instance, &requeue, filter, after, limit, call, ret_n, err);
}

int admin_discard(void *instance, const struct outbox_filter *filter, int64_t *after,
                  uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                  struct outbox_err *err)
{
    static const struct rows_change discard = {ROWS_DELETE("status = 'failed'"),
                                               .is_persons = true};
    return change_failed(instance, &discard, filter, after, limit, call, ret_n, err);
}

/* ---- purge ---- */

#define PURGE(index, condition)                       \
    "SELECT seq FROM \"{t}\" INDEXED BY \"{t}_" index \
    "\" WHERE NOT outbox_quarantined(seq) AND " condition

/* ?1 is a text that no time to be deleted is after: the index ends the search. */
static const struct purge {
    uint32_t status;
    const char *head;
    const char *tail;
} purges[] = {
    {OUTBOX_PROCESSED, PURGE("done", "status = 'processed' AND processed_at <= ?1"),
     " ORDER BY processed_at LIMIT ?3"},
    /* marked by hand */
    {OUTBOX_PROCESSED, PURGE("done", "status = 'processed' AND processed_at IS NULL"), " LIMIT ?3"},
    {OUTBOX_FAILED, PURGE("failed", "status = 'failed'"), " ORDER BY seq LIMIT ?3"},
};

static int purge_one(struct store *s, const struct purge *purge, const struct outbox_filter *filter,
                     int64_t limit, uint64_t *n, struct outbox_err *err)
{
    static const struct rows_change change = {ROWS_DELETE("status IN ('processed', 'failed')")};
    char before[TIMESTAMP_SIZE] = "~";
    struct rows rows = {0};
    uint64_t n_deleted = 0;
    sqlite3_stmt *q;
    if (filter->older_than_ms > 0)
        timestamp_format(db_now_plus(s, -filter->older_than_ms), before);
    int r = filter_query(s, purge->head, filter, purge->tail,
                         DB_ARGS(DB_TEXT(outbox_cstr(before)), DB_NULL, DB_INT(limit)), &q, err);
    if (r == 0)
        r = rows_read(s, q, &rows, err);
    if (r == 0)
        r = rows_apply(s, &rows, &change, &n_deleted, err);
    *n += n_deleted;
    rows_free(&rows);
    return r;
}

int admin_purge(void *instance, const struct outbox_filter *filter, uint32_t limit,
                const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err)
{
    struct store *s = instance;
    struct outbox_filter rest = *filter;
    uint32_t statuses = filter->statuses ? filter->statuses : OUTBOX_PROCESSED | OUTBOX_FAILED;
    *ret_n = 0;
    rest.statuses = 0;
    if (statuses & ~(OUTBOX_PROCESSED | OUTBOX_FAILED))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "only processed and failed messages can be deleted");
    int r = connect_enter(s, call, err);
    for (size_t i = 0; r == 0 && i < sizeof purges / sizeof purges[0]; i++)
        if ((statuses & purges[i].status) && *ret_n < limit)
            r = purge_one(s, &purges[i], &rest, limit - (int64_t)*ret_n, ret_n, err);
    return r;
}
