/* SPDX-License-Identifier: Apache-2.0 */
/* stats.c - counts, by indexes, and cut short unless they are wanted exact. */
#include "db.h"
#include "schema.h"

/* More than this is "at least this". */
#define COUNT_MAX 10000

/* Arguments of all statements here: ?1 now, ?2 the lane or NULL; of counts: ?3 the limit. */
#define COUNT(condition) "SELECT count(*) FROM (SELECT 1 FROM \"{t}\" WHERE " condition " LIMIT ?3)"
#define LANE " AND (?2 IS NULL OR lane = ?2)"

static const struct count {
    uint32_t bit;
    size_t offset;
    const char *sql;
} counts[] = {
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
    {0, offsetof(struct outbox_stats, unknown), COUNT("?1 AND " SCHEMA_UNKNOWN LANE)},
    {0, offsetof(struct outbox_stats, parked),
     COUNT(
         "?1 AND status = 'pending' AND lane IS NOT NULL AND (available_at IS NULL OR available_at"
         " <= ?1)" LANE)},
};

/* limit: -1 for none. */
static int count(struct store *s, const struct count *count, struct outbox_str lane, int64_t limit,
                 struct outbox_stats *stats, struct outbox_err *err)
{
    uint64_t *total = (void *)((char *)stats + count->offset);
    int64_t n;
    int r = db_read_int(
        s, STMT_ONCE, count->sql,
        DB_ARGS(DB_INT(stats->now_us), DB_TEXT(lane), DB_INT(limit < 0 ? limit : limit + 1)), &n,
        err);
    if (limit >= 0 && n > limit) {
        stats->at_least |= count->bit;
        n = limit;
    }
    *total += (uint64_t)n;
    return r;
}

/* Of the first ready and the first delayed rows that are due: who waits longest. One of them alone
 * may have a time that cannot be read. */
#define FIRST " LIMIT 100)"
static int oldest(struct store *s, struct outbox_str lane, struct outbox_stats *stats,
                  struct outbox_err *err)
{
    sqlite3_stmt *q;
    int r = db_query(
        s, STMT_ONCE,
        "SELECT * FROM (SELECT created_at FROM \"{t}\" WHERE status = 'pending' AND available_at"
        " IS NULL AND lane IS NULL AND ?2 IS NULL ORDER BY seq" FIRST
        " UNION ALL SELECT * FROM (SELECT created_at FROM \"{t}\" WHERE status = 'pending' AND"
        " lane IS NOT NULL AND available_at IS NULL" LANE " ORDER BY lane, lane_seq" FIRST
        " UNION ALL SELECT * FROM (SELECT created_at FROM \"{t}\" WHERE status = 'pending' AND"
        " available_at IS NOT NULL AND available_at <= ?1" LANE " ORDER BY available_at" FIRST,
        DB_ARGS(DB_INT(stats->now_us), DB_TEXT(lane)), &q, err);
    if (r < 0)
        return r;
    while ((r = db_step(s, q, err)) > 0) {
        int64_t us = timestamp_column(q, 0);
        if (us && (!stats->oldest_pending_us || us < stats->oldest_pending_us))
            stats->oldest_pending_us = us;
    }
    return r;
}

int stats(void *instance, struct outbox_str lane, uint32_t flags, const struct outbox_call *call,
          struct outbox_stats *ret, struct outbox_err *err)
{
    struct store *s = instance;
    struct outbox_stats stats = {.size = sizeof stats, .now_us = db_now(s)};
    int64_t limit = flags & OUTBOX_STATS_EXACT ? -1 : COUNT_MAX;
    int r = connect_enter(s, call, err);
    /* All at one moment: a row that is settled meanwhile is counted once. */
    if (r == 0)
        r = db_exec(s, "BEGIN", err);
    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < sizeof counts / sizeof counts[0]; i++)
        r = count(s, &counts[i], lane, limit, &stats, err);
    if (r == 0)
        r = oldest(s, lane, &stats, err);
    r = db_end(s, r, err);
    if (r == 0)
        *ret = stats;
    return r;
}
