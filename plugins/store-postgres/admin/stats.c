/* SPDX-License-Identifier: Apache-2.0 */
/* stats.c - counts, by indexes, and bounded unless OUTBOX_STATS_EXACT is set. */
#include "store.h"

#include <stddef.h>

/* More than this is "at least this". */
#define COUNT_MAX 10000

/* $1: how far to count, or NULL; $2: the lane, or NULL. */
#define COUNT(condition) \
    "(SELECT count(*) FROM (SELECT 1 FROM ONLY {t} m WHERE " condition " LIMIT $1) c)"
#define LANE " AND ($2::text IS NULL OR m.lane = $2)"
#define READY "m.status = 'pending' AND m.available_at IS NULL"
#define WAITS "m.status = 'pending' AND m.available_at IS NOT NULL AND m.available_at "
/* A time that somebody set to infinity tells nothing of how long a message waits. */
#define FIRST(condition, order)                             \
    "(SELECT m.created_at FROM ONLY {t} m WHERE " condition \
    " AND pg_catalog.isfinite(m.created_at)"                \
    " ORDER BY " order " LIMIT 1)"

#define FRESH READY " AND m.lane IS NULL AND $2::text IS NULL"
#define PARKED READY " AND m.lane IS NOT NULL" LANE
#define DUE WAITS "<= statement_timestamp()" LANE

/* In the order of `parts`. */
static const char counts[] =
    /* clang-format off */
    "SELECT " COUNT(FRESH) ", " COUNT(PARKED) ", " COUNT(DUE) ", "
    COUNT(WAITS "> statement_timestamp()" LANE) ", "
    COUNT("m.status = 'processing'" LANE) ", "
    COUNT("m.status = 'processed'" LANE) ", "
    COUNT("m.status = 'failed'" LANE) ", "
    COUNT(PARKED) ", " COUNT(DUE " AND m.lane IS NOT NULL") ", "
    /* without an index */
    "CASE WHEN $3::int8 = 1 THEN " COUNT("m.status IS NULL OR m.status NOT IN ('pending',"
    " 'processing', 'processed', 'failed')" LANE) " ELSE 0::int8 END, "
    "LEAST(" FIRST(FRESH, "m.seq") ", " FIRST(PARKED, "m.lane, m.lane_seq") ", "
    FIRST(DUE, "m.available_at") "), clock_timestamp()";
/* clang-format on */

static const struct part {
    uint32_t bit;
    size_t offset;
} parts[] = {
    {OUTBOX_STATS_PENDING, offsetof(struct outbox_stats, pending)},
    {OUTBOX_STATS_PENDING, offsetof(struct outbox_stats, pending)},
    {OUTBOX_STATS_PENDING, offsetof(struct outbox_stats, pending)},
    {OUTBOX_STATS_DELAYED, offsetof(struct outbox_stats, delayed)},
    {OUTBOX_STATS_PROCESSING, offsetof(struct outbox_stats, processing)},
    {OUTBOX_STATS_PROCESSED, offsetof(struct outbox_stats, processed)},
    {OUTBOX_STATS_FAILED, offsetof(struct outbox_stats, failed)},
    {0, offsetof(struct outbox_stats, parked)},
    {0, offsetof(struct outbox_stats, parked)},
    {0, offsetof(struct outbox_stats, unknown)},
};
#define N_PARTS ((int)(sizeof parts / sizeof parts[0]))

int op_stats(void *instance, struct outbox_str lane, uint32_t flags, const struct outbox_call *call,
             struct outbox_stats *ret, struct outbox_err *err)
{
    struct store *s = instance;
    struct outbox_stats stats = {.size = sizeof stats};
    int64_t limit = flags & OUTBOX_STATS_EXACT ? INT64_MAX : COUNT_MAX + 1;
    PGresult *row;
    int r = store_enter(s, call, err);
    if (r < 0)
        return r;
    struct pg_args args = {.arena = &s->conn.scratch};
    pg_args_int(&args, limit);
    pg_args_text(&args, lane);
    pg_args_int(&args, (flags & OUTBOX_STATS_EXACT) != 0);
    r = pipeline_query(&s->conn, STMT_NONE, counts, &args, &row, err);
    if (r < 0)
        return r;
    for (int i = 0; i < N_PARTS; i++) {
        int64_t n = pg_column_int(row, 0, i);
        uint64_t *total = (void *)((char *)&stats + parts[i].offset);
        if (n == limit)
            stats.at_least |= parts[i].bit;
        *total += (uint64_t)(n == limit ? n - 1 : n);
    }
    stats.oldest_pending_us = pg_column_time(row, 0, N_PARTS);
    stats.now_us = pg_column_time(row, 0, N_PARTS + 1);
    PQclear(row);
    *ret = stats;
    return OUTBOX_OK;
}
