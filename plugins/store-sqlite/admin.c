/* SPDX-License-Identifier: Apache-2.0 */
/* admin.c - requeue and discard of failed rows, purge of old ones. */
#include "db.h"
#include "row.h"

/* ---- requeue, discard: failed rows ---- */

/* The index is named: the few failed rows are not looked for among all that are kept. Ids have
 * an index of their own. */
#define FAILED(index) \
    " WHERE seq IN (SELECT seq FROM \"{t}\"" index " WHERE status = 'failed' AND seq > ?2"
#define BY_FAILED " INDEXED BY \"{t}_failed\""
#define REQUEUE                                                                         \
    "UPDATE \"{t}\" SET status = 'pending', retries = 0, lane = NULL, lane_seq = NULL," \
    " available_at = NULL, processed_at = NULL"
#define DISCARD "DELETE FROM \"{t}\""

/* One statement, and so one transaction; it returns the rows that it changed, in any order. */
static int change_failed(struct store *s, const char *head, const struct outbox_filter *filter,
                         int64_t *after, uint32_t limit, const struct outbox_call *call,
                         uint64_t *ret_n, struct outbox_err *err)
{
    struct outbox_filter failed = *filter;
    int64_t last = *after;
    uint64_t n = 0;
    sqlite3_stmt *q;
    *ret_n = 0;
    failed.statuses = 0; /* the statement says that they are failed */
    if (filter->statuses && !(filter->statuses & OUTBOX_FAILED))
        return OUTBOX_OK;
    int r = connect_enter(s, call, err);
    if (r == 0)
        r = filter_query(s, head, &failed, " ORDER BY seq LIMIT ?3) RETURNING seq",
                         DB_ARGS(DB_NULL, DB_INT(*after), DB_INT(limit)), &q, err);
    if (r < 0)
        return r;
    for (; (r = db_step(s, q, err)) > 0; n++)
        if (sqlite3_column_int64(q, 0) > last)
            last = sqlite3_column_int64(q, 0);
    if (r < 0)
        return r;
    *after = last;
    *ret_n = n;
    return OUTBOX_OK;
}

int admin_requeue(void *instance, const struct outbox_filter *filter, int64_t *after,
                  uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                  struct outbox_err *err)
{
    const char *head = filter->n_ids ? REQUEUE FAILED("") : REQUEUE FAILED(BY_FAILED);
    return change_failed(instance, head, filter, after, limit, call, ret_n, err);
}

int admin_discard(void *instance, const struct outbox_filter *filter, int64_t *after,
                  uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                  struct outbox_err *err)
{
    const char *head = filter->n_ids ? DISCARD FAILED("") : DISCARD FAILED(BY_FAILED);
    return change_failed(instance, head, filter, after, limit, call, ret_n, err);
}

/* ---- purge ---- */

#define PURGE "DELETE FROM \"{t}\" WHERE seq IN (SELECT seq FROM \"{t}\" INDEXED BY "

/* ?1 is a text that no time to be deleted is after: the index ends the search. */
static const struct purge {
    uint32_t status;
    const char *head;
    const char *tail;
} purges[] = {
    {OUTBOX_PROCESSED, PURGE "\"{t}_done\" WHERE status = 'processed' AND processed_at <= ?1",
     " ORDER BY processed_at LIMIT ?3)"},
    /* marked by hand */
    {OUTBOX_PROCESSED, PURGE "\"{t}_done\" WHERE status = 'processed' AND processed_at IS NULL",
     " LIMIT ?3)"},
    {OUTBOX_FAILED, PURGE "\"{t}_failed\" WHERE status = 'failed'", " ORDER BY seq LIMIT ?3)"},
};

static int purge_one(struct store *s, const struct purge *purge, const struct outbox_filter *filter,
                     int64_t limit, uint64_t *n, struct outbox_err *err)
{
    char before[TIMESTAMP_SIZE] = "~";
    sqlite3_stmt *q;
    if (filter->older_than_ms > 0)
        timestamp_format(db_now_plus(s, -filter->older_than_ms), before);
    int r = filter_query(s, purge->head, filter, purge->tail,
                         DB_ARGS(DB_TEXT(outbox_cstr(before)), DB_NULL, DB_INT(limit)), &q, err);
    if (r == 0)
        r = db_step(s, q, err);
    if (r == 0)
        *n += (uint64_t)sqlite3_changes64(s->db);
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
