/* SPDX-License-Identifier: Apache-2.0 */
/* backlog.c - what is known of the table beside the rows that are ready: delays and leases that
 * end, and what others left behind. */
#include "claim/backlog.h"

#include <stdio.h>

#define LOOK_US INT64_C(1000000)
/* How often to look for rows that are `processing` without a lease, and for stuck sessions. */
#define STRAY_US INT64_C(5000000)

/* What waits for a time, and what nobody holds; ms from now. $1: look for strays, too. */
static const char look_text[] =
    "SELECT EXISTS (SELECT 1 FROM {t} m WHERE " DELAYED
    "  AND m.available_at <= statement_timestamp()),"
    " (SELECT pg_catalog.ceil(pg_catalog.date_part('epoch', min(m.available_at) - "
    "clock_timestamp()) * 1000::float8)"
    "  ::int8 FROM {t} m WHERE " DELAYED " AND m.available_at > statement_timestamp()"
    "  AND m.available_at < 'infinity'),"
    " (SELECT pg_catalog.ceil(pg_catalog.date_part('epoch', min(until) - clock_timestamp()) * "
    "1000::float8)::int8"
    "  FROM {t_leases}),"
    " $1::int8 = 1 AND EXISTS (SELECT 1 FROM {t} m WHERE m.status = 'processing' AND"
    "  (m.lease IS NULL OR NOT EXISTS (SELECT 1 FROM {t_leases} l WHERE l.lease = m.lease)))";

static int64_t time_in(const PGresult *look, int column, int64_t now)
{
    int64_t ms = column_int(look, 0, column);
    return PQgetisnull(look, 0, column) ? INT64_MAX
                                        : now + (ms < TIME_MAX_MS ? ms : TIME_MAX_MS) * 1000;
}

void outlook_take(struct store *s, const PGresult *look)
{
    int64_t now = s->host->monotonic_us(s->host);
    struct outlook *o = &s->outlook;
    o->due = column_int(look, 0, 0) != 0;
    o->delayed_us = time_in(look, 1, now);
    o->lease_us = time_in(look, 2, now);
    o->strays |= column_int(look, 0, 3) != 0;
    o->look_us = now + LOOK_US;
}

int64_t outlook_next_due_ms(const struct store *s)
{
    const struct outlook *o = &s->outlook;
    int64_t us = o->delayed_us < o->lease_us ? o->delayed_us : o->lease_us;
    int64_t now = s->host->monotonic_us(s->host);
    return us == INT64_MAX ? -1 : us <= now ? 0 : (us - now + 999) / 1000;
}

struct step outlook_step(struct store *s, struct args *args)
{
    int64_t now = s->host->monotonic_us(s->host);
    args_int(args, now >= s->outlook.stray_us);
    if (now >= s->outlook.stray_us)
        s->outlook.stray_us = now + STRAY_US;
    return (struct step){.slot = SLOT_LOOK, .sql = look_text, .args = args};
}

bool outlook_is_behind(const struct store *s)
{
    return s->outlook.strays || s->host->monotonic_us(s->host) >= s->outlook.lease_us;
}

/* A relay that was stopped while it received, or in the middle of a settle, keeps its locks: for
 * the server its session is not idle. $1: the table, $2: after how long, $3: the name of
 * {t_leases}. */
static const char stuck_text[] =
    "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a"
    " WHERE a.usename = current_user AND a.pid <> pg_catalog.pg_backend_pid()"
    " AND a.application_name = pg_catalog.current_setting('application_name')"
    " AND a.state = 'active' AND a.wait_event_type = 'Client'"
    " AND a.state_change < clock_timestamp() - $2::int8::float8 * interval '1 millisecond'"
    " AND EXISTS (SELECT 1 FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c"
    "  ON c.oid = l.relation JOIN pg_catalog.pg_class t ON t.relnamespace = c.relnamespace"
    "  WHERE l.pid = a.pid AND l.locktype = 'relation' AND l.mode = 'RowShareLock'"
    "  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname ="
    "   pg_catalog.current_database())"
    "  AND t.oid = $1::int8::oid AND (c.oid = t.oid OR c.relname = $3::text))";

static int terminate_stuck(struct store *s, const struct outbox_claim *claim,
                           struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    PGresult *result;
    char leases[80];
    int64_t now = s->host->monotonic_us(s->host);
    if (now < s->outlook.stuck_us)
        return OUTBOX_OK;
    s->outlook.stuck_us = now + STRAY_US;
    snprintf(leases, sizeof leases, "%s_leases", s->name.table);
    args_int(&args, s->oid);
    args_int(&args, s->claiming == CLAIM_LOCKS ? s->hold_ms : claim->lease_ms);
    args_text(&args, outbox_cstr(leases));
    int r = db_query(s, SLOT_TERMINATE, stuck_text, &args, &result, err);
    if (r < 0)
        return r;
    if (PQntuples(result) > 0)
        outbox_logf(s->host, OUTBOX_LOG_WARNING,
                    "ended %d sessions of relays that stopped in the middle of a word; what they "
                    "held is free again",
                    PQntuples(result));
    PQclear(result);
    return OUTBOX_OK;
}

/* What we claimed and never heard of. */
static int give_back_lost(struct store *s, struct outbox_err *err)
{
    int r = leases_give_back(s, s->lost, err);
    if (r == 0 && s->host->monotonic_us(s->host) > s->lost_us)
        s->lost = 0;
    return r;
}

int outlook_tidy_up(struct store *s, const struct outbox_claim *claim, struct outbox_err *err)
{
    struct outlook *o = &s->outlook;
    int r = s->lost ? give_back_lost(s, err) : OUTBOX_OK;
    if (r == 0)
        r = terminate_stuck(s, claim, err);
    if (r == 0 && s->host->monotonic_us(s->host) >= o->lease_us) {
        o->lease_us = INT64_MAX;
        r = leases_expire(s, err);
    }
    if (r == 0 && o->strays) {
        o->strays = false;
        r = leases_adopt(s, claim, err);
    }
    return r;
}
