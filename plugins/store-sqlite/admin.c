/* SPDX-License-Identifier: Apache-2.0 */
/* admin.c - rows that are through: failed ones sent again or thrown away, old ones deleted. */
#include "sqlite.h"

/* ---- requeue, discard: failed rows ---- */

/* The index is named: the few failed rows are not looked for among all that are kept. Ids have
 * an index of their own. */
struct change {
    const char *head_all;
    const char *head_ids;
};

#define WHERE " WHERE status = 'failed' AND seq > ?2 AND seq <= ?3"
#define REQUEUE                                                                           \
    " SET status = 'pending', retries = 0, lane = NULL, lane_seq = NULL, available_at = " \
    "NULL, processed_at = NULL" WHERE

static const struct change requeuing = {
    "UPDATE \"{t}\" INDEXED BY \"{t}_failed\"" REQUEUE,
    "UPDATE \"{t}\"" REQUEUE,
};
static const struct change discarding = {
    "DELETE FROM \"{t}\" INDEXED BY \"{t}_failed\"" WHERE,
    "DELETE FROM \"{t}\"" WHERE,
};

/* The last seq of the next `limit` rows of the filter, and how many they are. */
static int next_range(struct store *s, const struct outbox_filter *filter, int64_t after,
                      uint32_t limit, int64_t *ret_last, uint64_t *ret_n, struct outbox_err *err)
{
    const char *head = filter->n_ids
                           ? "SELECT count(*), max(seq) FROM (SELECT seq FROM \"{t}\" WHERE status"
                             " = 'failed' AND seq > ?2"
                           : "SELECT count(*), max(seq) FROM (SELECT seq FROM \"{t}\" INDEXED BY"
                             " \"{t}_failed\" WHERE status = 'failed' AND seq > ?2";
    sqlite3_stmt *q = filter_prepare(s, head, filter, " ORDER BY seq LIMIT ?3)", err);
    if (!q)
        return s->failure;
    sqlite3_bind_int64(q, 2, after);
    sqlite3_bind_int64(q, 3, limit);
    int r = sqlite3_step(q) == SQLITE_ROW ? OUTBOX_OK : db_fail(s, err);
    if (r == 0) {
        *ret_n = (uint64_t)sqlite3_column_int64(q, 0);
        *ret_last = sqlite3_column_int64(q, 1);
    }
    sqlite3_finalize(q);
    return r;
}

static int change_range(struct store *s, const struct change *change,
                        const struct outbox_filter *filter, int64_t *after, uint32_t limit,
                        uint64_t *ret_n, struct outbox_err *err)
{
    int64_t last = 0;
    int r = next_range(s, filter, *after, limit, &last, ret_n, err);
    if (r < 0 || *ret_n == 0)
        return r;
    sqlite3_stmt *q =
        filter_prepare(s, filter->n_ids ? change->head_ids : change->head_all, filter, "", err);
    if (!q)
        return s->failure;
    sqlite3_bind_int64(q, 2, *after);
    sqlite3_bind_int64(q, 3, last);
    r = sqlite3_step(q) == SQLITE_DONE ? OUTBOX_OK : db_fail(s, err);
    sqlite3_finalize(q);
    *after = last;
    return r;
}

static int change_failed(struct store *s, const struct change *change,
                         const struct outbox_filter *filter, int64_t *after, uint32_t limit,
                         const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err)
{
    struct outbox_filter dead = *filter;
    int64_t at = *after;
    *ret_n = 0;
    dead.statuses = 0; /* the statement says that they are failed */
    if (filter->statuses && !(filter->statuses & OUTBOX_FAILED))
        return OUTBOX_OK;
    int r = db_enter(s, call, err);
    if (r == 0)
        r = db_begin(s, err);
    if (r < 0)
        return r;
    r = change_range(s, change, &dead, &at, limit, ret_n, err);
    r = r < 0 ? db_rollback(s, r) : db_commit(s, err);
    if (r == 0)
        *after = at;
    else
        *ret_n = 0;
    return r;
}

int requeue(void *instance, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
            const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err)
{
    return change_failed(instance, &requeuing, filter, after, limit, call, ret_n, err);
}

int discard(void *instance, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
            const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err)
{
    return change_failed(instance, &discarding, filter, after, limit, call, ret_n, err);
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
    char before[MOMENT_SIZE];
    sqlite3_stmt *q = filter_prepare(s, purge->head, filter, purge->tail, err);
    if (!q)
        return s->failure;
    if (filter->older_than_ms > 0)
        moment_format(db_now_plus(s, -filter->older_than_ms), before);
    db_bind(q, 1, outbox_cstr(filter->older_than_ms > 0 ? before : "~"));
    sqlite3_bind_int64(q, 3, limit);
    int r = sqlite3_step(q) == SQLITE_DONE ? OUTBOX_OK : db_fail(s, err);
    if (r == 0)
        *n += (uint64_t)sqlite3_changes64(s->db);
    sqlite3_finalize(q);
    return r;
}

int purge(void *instance, const struct outbox_filter *filter, uint32_t limit,
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
    int r = db_enter(s, call, err);
    for (size_t i = 0; r == 0 && i < sizeof purges / sizeof purges[0]; i++)
        if ((statuses & purges[i].status) && *ret_n < limit)
            r = purge_one(s, &purges[i], &rest, limit - (int64_t)*ret_n, ret_n, err);
    return r;
}
