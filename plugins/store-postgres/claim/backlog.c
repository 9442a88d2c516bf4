/* SPDX-License-Identifier: Apache-2.0 */
#include "claim/claim_mode.h"

#define READ_US INT64_C(1000000)
/* Between two searches for rows that are `processing` without a lease, and for stuck sessions. */
#define STRAY_US INT64_C(5000000)
/* Until a lease is tried again whose end has come, but which another session holds. */
#define HELD_US INT64_C(1000000)

/* ---- reading ---- */

/* What waits for a time, and what nobody holds; ms from now. $1: strays, too; $2: rows to avoid;
 * $3: fresh rows, too. */
static const char read_text[] =
    "SELECT EXISTS (SELECT 1 FROM ONLY {t} m WHERE " DELAYED
    "  AND m.available_at <= statement_timestamp() AND m.seq <> ALL ($2)),"
    " (SELECT pg_catalog.ceil(pg_catalog.date_part('epoch', min(m.available_at) - "
    "clock_timestamp()) * 1000::float8)"
    "  ::int8 FROM ONLY {t} m WHERE " DELAYED " AND m.available_at > statement_timestamp()"
    "  AND m.available_at < 'infinity'),"
    " (SELECT pg_catalog.ceil(pg_catalog.date_part('epoch', min(until) - clock_timestamp()) * "
    "1000::float8)::int8"
    "  FROM {t_leases}),"
    " $1::int8 = 1 AND EXISTS (SELECT 1 FROM ONLY {t} m WHERE m.status = 'processing' AND"
    "  (m.lease IS NULL OR NOT EXISTS (SELECT 1 FROM {t_leases} l WHERE l.lease = m.lease))"
    "  AND m.seq <> ALL ($2)),"
    " EXISTS (SELECT 1 FROM {t_leases} WHERE lease = $3)";

struct step backlog_step(struct store *s, int64_t token, struct pg_args *args)
{
    int64_t now = deadline_now_us(&s->conn.deadline);
    bool strays = now >= s->backlog.next_stray_us;
    if (strays)
        s->backlog.next_stray_us = now + STRAY_US;
    pg_args_int(args, strays);
    store_add_aside(s, args);
    pg_args_int(args, token);
    return (struct step){.stmt = STMT_BACKLOG, .sql = read_text, .args = args};
}

static int64_t time_in(const PGresult *row, int column, int64_t now)
{
    int64_t ms = pg_column_int(row, 0, column);
    return PQgetisnull(row, 0, column) ? INT64_MAX
                                       : now + (ms < TIME_MAX_MS ? ms : TIME_MAX_MS) * 1000;
}

bool backlog_read(struct store *s, const PGresult *row)
{
    int64_t now = deadline_now_us(&s->conn.deadline);
    struct backlog *b = &s->backlog;
    b->due = pg_column_int(row, 0, 0) != 0;
    b->due_us = time_in(row, 1, now);
    b->lease_us = time_in(row, 2, now);
    b->strays |= pg_column_int(row, 0, 3) != 0;
    b->next_read_us = now + READ_US;
    return pg_column_int(row, 0, 4) != 0;
}

int64_t backlog_next_due_ms(const struct store *s)
{
    const struct backlog *b = &s->backlog;
    int64_t now = deadline_now_us(&s->conn.deadline);
    int64_t lease_us = b->lease_us <= now ? now + HELD_US : b->lease_us;
    int64_t us = b->due_us < lease_us ? b->due_us : lease_us;
    return us == INT64_MAX ? -1 : us <= now ? 1 : (us - now + 999) / 1000;
}

bool backlog_is_due(const struct store *s)
{
    return s->backlog.strays || deadline_now_us(&s->conn.deadline) >= s->backlog.lease_us;
}

/* ---- what was left behind ---- */

/* A relay that was stopped while it received, or in the middle of a settle, keeps its locks: for
 * the server its session is not idle. $1: the table, $2: after how long, $3: its name. */
static const char stuck_text[] =
    "SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(a.pid))"
    " FROM pg_catalog.pg_stat_activity a WHERE a.usename = current_user"
    " AND a.pid <> pg_catalog.pg_backend_pid()"
    " AND a.application_name = pg_catalog.current_setting('application_name')"
    " AND a.state = 'active' AND a.wait_event_type = 'Client'"
    " AND a.state_change < clock_timestamp() - $2::int8::float8 * interval '1 millisecond'"
    " AND EXISTS (SELECT 1 FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c"
    "  ON c.oid = l.relation JOIN pg_catalog.pg_class t ON t.relnamespace = c.relnamespace"
    "  WHERE l.pid = a.pid AND l.locktype = 'relation' AND l.mode = 'RowShareLock'"
    "  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname ="
    "   pg_catalog.current_database())"
    "  AND t.oid = $1::int8::oid AND (c.oid = t.oid OR c.relname = $3::text || '_leases'))";

static int terminate_stuck(struct store *s, const struct outbox_claim *claim,
                           struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    int64_t n;
    pg_args_int(&args, s->conn.oid);
    pg_args_int(&args, s->conn.hold_ms > 0 ? s->conn.hold_ms : claim->lease_ms);
    pg_args_text(&args, outbox_cstr(s->name.table));
    int r = pipeline_number(&s->conn, stuck_text, &args, &n, err);
    if (n > 0)
        outbox_logf(s->host, OUTBOX_LOG_WARNING,
                    "ended %lld sessions of relays that stopped while the server waited for them; "
                    "what they held is free again",
                    (long long)n);
    return r;
}

int backlog_free_abandoned(struct store *s, const struct outbox_claim *claim,
                           struct outbox_err *err)
{
    struct backlog *b = &s->backlog;
    int64_t now = deadline_now_us(&s->conn.deadline);
    int r = OUTBOX_OK;
    if (s->claim.lost_token)
        r = leases_give_back(s, s->claim.lost_token, err);
    if (r == 0 && now > s->claim.lost_until_us)
        s->claim.lost_token = 0;
    if (r == 0 && now >= b->next_stuck_us) {
        b->next_stuck_us = now + STRAY_US;
        r = terminate_stuck(s, claim, err);
    }
    if (r == 0 && now >= b->lease_us) {
        b->lease_us = INT64_MAX;
        r = leases_expire(s, err);
    }
    if (r == 0 && b->strays) {
        b->strays = false;
        r = leases_adopt(s, claim, err);
    }
    return r;
}
