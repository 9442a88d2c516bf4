/* SPDX-License-Identifier: Apache-2.0 */
/* stats.c - counts, by indexes, and cut short unless somebody wants them exact. */
#include "sqlite.h"

/* More than this is "at least this". */
#define COUNT_MAX 10000

/* One count; arguments: ?1 now, ?2 the lane or NULL, ?3 the limit. */
static int count(struct store *s, const char *sql, struct outbox_str lane, int64_t limit,
                 uint64_t *ret, bool *ret_cut, struct outbox_err *err)
{
    sqlite3_stmt *q = db_prepare(s, sql, err);
    if (!q)
        return s->failure;
    sqlite3_bind_int64(q, 1, db_now(s));
    db_bind(q, 2, lane);
    sqlite3_bind_int64(q, 3, limit > 0 ? limit + 1 : -1);
    int code = sqlite3_step(q);
    int64_t n = code == SQLITE_ROW ? sqlite3_column_int64(q, 0) : 0;
    sqlite3_finalize(q);
    if (code != SQLITE_ROW)
        return db_fail(s, err);
    *ret_cut = limit > 0 && n > limit;
    *ret += (uint64_t)(*ret_cut ? limit : n);
    return OUTBOX_OK;
}

#define COUNT(condition) "SELECT count(*) FROM (SELECT 1 FROM \"{t}\" WHERE " condition " LIMIT ?3)"
#define LANE " AND (?2 IS NULL OR lane = ?2)"

static const struct part {
    uint32_t bit;
    size_t offset;
    const char *sql;
} parts[] = {
    {OUTBOX_STATS_PENDING, offsetof(struct outbox_stats, pending),
     COUNT("?1 AND status = 'pending' AND available_at IS NULL AND lane IS NULL AND ?2 IS NULL")},
    {OUTBOX_STATS_PENDING, offsetof(struct outbox_stats, pending),
     COUNT("?1 AND status = 'pending' AND available_at IS NULL AND lane IS NOT NULL" LANE)},
    {OUTBOX_STATS_PENDING, offsetof(struct outbox_stats, pending),
     COUNT("status = 'pending' AND available_at IS NOT NULL AND available_at <= ?1" LANE)},
    {OUTBOX_STATS_DELAYED, offsetof(struct outbox_stats, delayed),
     COUNT("status = 'pending' AND available_at IS NOT NULL AND available_at > ?1" LANE)},
    {OUTBOX_STATS_PROCESSING, offsetof(struct outbox_stats, processing),
     COUNT("?1 AND status = 'processing'" LANE)},
    {OUTBOX_STATS_PROCESSED, offsetof(struct outbox_stats, processed),
     COUNT("?1 AND status = 'processed'" LANE)},
    {OUTBOX_STATS_FAILED, offsetof(struct outbox_stats, failed),
     COUNT("?1 AND status = 'failed'" LANE)},
};

/* Of the first ready and the first delayed row that is due: who waits longest. */
static int oldest(struct store *s, struct outbox_str lane, int64_t *ret, struct outbox_err *err)
{
    sqlite3_stmt *q = db_prepare(
        s,
        "SELECT * FROM (SELECT created_at FROM \"{t}\" WHERE status = 'pending' AND available_at"
        " IS NULL AND lane IS NULL AND ?2 IS NULL ORDER BY seq LIMIT 1)"
        " UNION ALL SELECT * FROM (SELECT created_at FROM \"{t}\" WHERE status = 'pending' AND"
        " lane IS NOT NULL AND available_at IS NULL" LANE " ORDER BY lane, lane_seq LIMIT 1)"
        " UNION ALL SELECT * FROM (SELECT created_at FROM \"{t}\" WHERE status = 'pending' AND"
        " available_at IS NOT NULL AND available_at <= ?1" LANE " ORDER BY available_at LIMIT 1)",
        err);
    if (!q)
        return s->failure;
    sqlite3_bind_int64(q, 1, db_now(s));
    db_bind(q, 2, lane);
    int code;
    *ret = 0;
    while ((code = sqlite3_step(q)) == SQLITE_ROW) {
        int64_t us = moment_column(q, 0);
        if (us && (!*ret || us < *ret))
            *ret = us;
    }
    sqlite3_finalize(q);
    return code == SQLITE_DONE ? OUTBOX_OK : db_fail(s, err);
}

int stats(void *instance, struct outbox_str lane, uint32_t flags, const struct outbox_call *call,
          struct outbox_stats *ret, struct outbox_err *err)
{
    struct store *s = instance;
    struct outbox_stats stats = {.size = sizeof stats, .now_us = db_now(s)};
    int64_t limit = flags & OUTBOX_STATS_EXACT ? 0 : COUNT_MAX;
    int r = db_enter(s, call, err);
    /* All at one moment: a row that is settled meanwhile is counted once. */
    if (r == 0)
        r = db_exec(s, "BEGIN", err);
    for (size_t i = 0; r == 0 && i < sizeof parts / sizeof parts[0]; i++) {
        bool cut = false;
        uint64_t *n = (void *)((char *)&stats + parts[i].offset);
        r = count(s, parts[i].sql, lane, limit, n, &cut, err);
        stats.at_least |= cut ? parts[i].bit : 0;
    }
    if (r == 0)
        r = oldest(s, lane, &stats.oldest_pending_us, err);
    if (s->db && !sqlite3_get_autocommit(s->db))
        r = r < 0 ? db_rollback(s, r) : db_exec(s, "COMMIT", err);
    if (r == 0)
        *ret = stats;
    return r;
}
