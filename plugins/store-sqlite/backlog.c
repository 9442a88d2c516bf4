/* SPDX-License-Identifier: Apache-2.0 */
#include "backlog.h"

#include "db.h"
#include "lease.h"
#include "rows.h"

#include <inttypes.h>

/* How often orphaned rows, and times that are text, are searched for. */
#define ORPHANS_MS 5000

static int64_t time_or_never(sqlite3_stmt *q, int column)
{
    return sqlite3_column_type(q, column) == SQLITE_NULL ? INT64_MAX
                                                         : sqlite3_column_int64(q, column);
}

static int look(struct store *s, bool orphans, struct backlog *ret, struct outbox_err *err)
{
    sqlite3_stmt *q;
    int r = db_query(s, STMT_BACKLOG,
                     "SELECT EXISTS (SELECT 1 FROM " READY "),"
                     " (SELECT min(until) FROM \"{t}_leases\"),"
                     " (SELECT min(available_at) FROM " DELAYED " AND available_at < ''),"
                     " CASE WHEN ?1 THEN EXISTS (SELECT 1 FROM " LEASE_ORPHANS ")"
                     "  OR EXISTS (SELECT 1 FROM " TEXT_TIME ") END",
                     DB_ARGS(DB_INT(orphans)), &q, err);
    if (r == 0)
        r = db_step(s, q, err);
    if (r < 0)
        return r;
    *ret = (struct backlog){.ready = sqlite3_column_int(q, 0),
                            .lease_us = time_or_never(q, 1),
                            .delayed_us = time_or_never(q, 2),
                            .orphans = sqlite3_column_int(q, 3),
                            .now_us = db_now(s)};
    sqlite3_reset(q);
    return OUTBOX_OK;
}

int backlog_read(struct store *s, struct backlog *ret, struct outbox_err *err)
{
    int64_t now = s->host->monotonic_us(s->host);
    bool orphans = now >= s->claim.next_orphans_us;
    int r = look(s, orphans, ret, err);
    if (r == 0 && orphans)
        s->claim.next_orphans_us = now + ORPHANS_MS * 1000;
    return r;
}

bool backlog_has_work(const struct backlog *backlog)
{
    return backlog->ready || backlog->orphans || backlog->lease_us <= backlog->now_us ||
           backlog->delayed_us <= backlog->now_us;
}

int64_t backlog_next_due_ms(const struct backlog *backlog)
{
    int64_t us = backlog->delayed_us < backlog->lease_us ? backlog->delayed_us : backlog->lease_us;
    if (us == INT64_MAX)
        return -1;
    return us <= backlog->now_us ? 0 : (us - backlog->now_us + 999) / 1000;
}

/* People write times as text; they become numbers, which is what the index can order. What cannot
 * be read stays, and is claimed as it is. */
static int make_numbers(struct store *s, struct outbox_err *err)
{
    static const struct rows_change change = {
        ROWS_UPDATE("available_at = outbox_due(available_at)",
                    "status = 'pending' AND typeof(available_at) IN ('text', 'blob') AND"
                    " typeof(outbox_due(available_at)) IN ('integer', 'null')")};
    struct rows rows = {0};
    sqlite3_stmt *q;
    uint64_t n;
    int r = db_query(s, STMT_ONCE,
                     "SELECT seq FROM " TEXT_TIME
                     " AND typeof(outbox_due(available_at)) IN ('integer', 'null')",
                     DB_NO_ARGS, &q, err);
    if (r == 0)
        r = rows_read(s, q, &rows, err);
    if (r == 0)
        r = rows_apply(s, &rows, &change, &n, err);
    rows_free(&rows);
    return r;
}

static void log_expired(struct store *s, uint64_t n)
{
    if (n == 0)
        return;
    s->host->count(s->host, "lease_expired_total", (int64_t)n);
    outbox_logf(s->host, OUTBOX_LOG_WARNING,
                "%" PRIu64 " messages were held by a relay that did not end cleanly; they are free "
                "again and may arrive twice",
                n);
}

int backlog_prepare(struct store *s, const struct outbox_claim *claim, struct backlog *backlog,
                    struct outbox_err *err)
{
    uint64_t n_expired = 0;
    int r = OUTBOX_OK;
    if (backlog->lease_us <= backlog->now_us) {
        r = lease_expire(s, &n_expired, err);
        log_expired(s, n_expired);
        if (r == 0)
            r = db_read_int(s, STMT_ONCE, "SELECT coalesce(min(until), ?1) FROM \"{t}_leases\"",
                            DB_ARGS(DB_INT(INT64_MAX)), &backlog->lease_us, err);
    }
    if (r == 0 && backlog->orphans)
        r = make_numbers(s, err);
    if (r == 0 && backlog->orphans)
        r = lease_adopt_orphans(s, claim, err);
    return r;
}
