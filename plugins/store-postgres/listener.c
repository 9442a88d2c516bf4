/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener.c - news of commits, on a connection of its own. See statements.c for the gate: it is
 * shut while the relay waits. After that one more claim is due, because a producer that committed
 * just before has not notified.
 */
#include "schema/schema.h"
#include "store.h"

#include <inttypes.h>

/* Producers that hold the gate open and do not end are waited for this long; until they do, the
 * host claims as often. */
#define GATE_MS "100"
/* Who keeps it open for longer is told, and again after some time. */
#define OPEN_US 10000000
#define TELL_AGAIN_US 600000000
/* How long a notification may take when it is tried. */
#define TRY_MS 3000
/* While another relay keeps the gate shut it is tried so often. */
#define SHADOW_MS 1000

#define ARGUMENTS STATEMENTS_GATE ", $1::int8::oid::int4"

/* What a SELECT with the table's oid as $1 returns. */
static int query(struct listener *l, const char *sql, bool *ret, struct outbox_err *err)
{
    struct pg_args args = {.arena = &l->conn.scratch};
    int64_t n;
    pg_args_int(&args, l->conn.oid);
    int r = pipeline_number(&l->conn, sql, &args, &n, err);
    *ret = n != 0;
    return r;
}

static int listen_to_table(struct listener *l, struct outbox_err *err)
{
    char sql[64];
    if (l->conn.pooled)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "LISTEN does not work through a pooler in transaction mode; let "
                           "notify_conninfo lead to the server itself");
    snprintf(sql, sizeof sql, "LISTEN outboxd_%" PRIu32, l->conn.oid);
    int r = pipeline_exec(&l->conn, sql, err);
    if (r == OUTBOX_OK)
        l->listening = l->conn.session;
    l->claim_is_due = true;
    return r;
}

/* Waits for the producers that have it open; those who come meanwhile notify. */
static int push_gate(struct listener *l, struct outbox_err *err)
{
    struct pg_args args = {.arena = &l->conn.scratch};
    pg_args_int(&args, l->conn.oid);
    struct step steps[] = {
        STEP_BEGIN,
        {.sql = "SET LOCAL lock_timeout = " GATE_MS},
        {.sql = "SELECT pg_catalog.pg_advisory_lock(" ARGUMENTS ")", .args = &args},
        STEP_COMMIT,
    };
    int r = pipeline_run(&l->conn, steps, 4, err);
    pipeline_clear(steps, 4);
    if (r == OUTBOX_OK)
        l->gate = l->conn.session;
    return r < 0 && l->conn.db && failure_is(&l->conn, "55") ? OUTBOX_OK /* not yet */ : r;
}

/* *ret_shadow: another relay keeps it shut, so producers notify anyway. */
static int shut_gate(struct listener *l, bool *ret_shadow, struct outbox_err *err)
{
    bool shut;
    *ret_shadow = false;
    int r = query(l, "SELECT pg_catalog.pg_try_advisory_lock(" ARGUMENTS ")", &shut, err);
    if (r == OUTBOX_OK && shut)
        l->gate = l->conn.session;
    if (r < 0 || shut)
        return r;
    r = query(l,
              "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND"
              " database = (SELECT oid FROM pg_catalog.pg_database WHERE datname ="
              " pg_catalog.current_database()) AND classid = " STATEMENTS_GATE "::oid AND objid ="
              " $1::int8::oid AND objsubid = 2 AND mode = 'ExclusiveLock' AND granted)",
              ret_shadow, err);
    return r < 0 || *ret_shadow ? r : push_gate(l, err);
}

/* Who keeps the gate open; $1: the table. A prepared transaction, which has no session, is known by
 * the lock of its own number. */
static const char holder_text[] =
    "SELECT COALESCE('the prepared transaction ' || pg_catalog.quote_literal(p.gid),"
    "  pg_catalog.concat('the session ', l.pid, ' of ', a.usename)), COALESCE(p.prepared,"
    "  a.xact_start)::text FROM pg_catalog.pg_locks l"
    " LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid"
    " LEFT JOIN (pg_catalog.pg_prepared_xacts p JOIN pg_catalog.pg_locks x"
    "  ON x.locktype = 'transactionid' AND x.transactionid = p.transaction AND"
    "   x.mode = 'ExclusiveLock') ON x.virtualtransaction = l.virtualtransaction"
    " WHERE l.locktype = 'advisory' AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE"
    "  datname = pg_catalog.current_database()) AND l.classid = " STATEMENTS_GATE "::oid"
    " AND l.objid = $1::int8::oid AND l.objsubid = 2 AND l.mode = 'ShareLock' AND l.granted"
    " ORDER BY COALESCE(p.prepared, a.xact_start) LIMIT 1";

static int tell_holder(struct store *s, struct outbox_err *err)
{
    struct listener *l = &s->listener;
    struct pg_args args = {.arena = &l->conn.scratch};
    int64_t now = deadline_now_us(&l->conn.deadline);
    PGresult *row;
    l->open_us = l->open_us ? l->open_us : now;
    if (now - l->open_us < OPEN_US || (l->told_us && now - l->told_us < TELL_AGAIN_US))
        return OUTBOX_OK;
    pg_args_int(&args, l->conn.oid);
    int r = pipeline_query(&l->conn, STMT_NONE, holder_text, &args, &row, err);
    if (r == OUTBOX_OK && PQntuples(row) > 0) {
        l->told_us = now;
        outbox_logf(s->host, OUTBOX_LOG_WARNING,
                    "%s has written messages, and is open since %s; until it ends the relay cannot "
                    "sleep, and claims ten times a second",
                    PQgetvalue(row, 0, 0), PQgetvalue(row, 0, 1));
    }
    PQclear(row);
    return r;
}

static bool take_notifications(struct listener *l)
{
    PGnotify *notification;
    bool any = false;
    while ((notification = PQnotifies(l->conn.db))) {
        PQfreemem(notification);
        any = true;
    }
    return any;
}

static int await_notification(struct listener *l, struct outbox_err *err)
{
    while (!take_notifications(l)) {
        int r = deadline_poll(&l->conn.deadline, PQsocket(l->conn.db), false);
        if (r != OUTBOX_OK)
            return r;
        if (!PQconsumeInput(l->conn.db)) {
            r = failure_of(&l->conn, l->conn.db, NULL, err);
            conn_close(&l->conn);
            return r;
        }
    }
    return OUTBOX_OK;
}

int op_wait(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct store *s = instance;
    struct listener *l = &s->listener;
    bool shadow = false;
    if (!s->notify)
        return outbox_fail(err, OUTBOX_E_NOTSUP, "notify is off");
    int r = check_enter(&l->conn, true, call, err);
    if (r == 0 && !conn_has_session(&l->conn, l->listening))
        r = listen_to_table(l, err);
    if (r < 0)
        return r;
    if (take_notifications(l))
        return OUTBOX_OK;
    if (!conn_has_session(&l->conn, l->gate)) {
        bool due = l->claim_is_due;
        r = shut_gate(l, &shadow, err);
        if (shadow || l->gate == l->conn.session)
            l->open_us = 0;
        else if (r == OUTBOX_OK)
            r = tell_holder(s, err);
        if (r < 0)
            return r;
        l->claim_is_due = false;
        if (!shadow || due)
            return OUTBOX_OK; /* one more claim, whether it is shut now or not */
        deadline_shorten(&l->conn.deadline, SHADOW_MS);
    }
    return await_notification(l, err);
}

/* Producers need not notify: nobody waits. */
int op_wait_stop(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct listener *l = &((struct store *)instance)->listener;
    bool opened;
    int r = OUTBOX_OK;
    if (!conn_has_session(&l->conn, l->gate))
        return r;
    conn_resume(&l->conn, call);
    if (l->conn.db)
        r = query(l, "SELECT pg_catalog.pg_advisory_unlock(" ARGUMENTS ")", &opened, err);
    if (r < 0)
        conn_close(&l->conn); /* which opens it */
    l->gate = 0;
    l->claim_is_due = true;
    return r;
}

static int try_notification(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    struct listener *l = &s->listener;
    char sql[80];
    int r = check_enter(&l->conn, true, call, err);
    if (r == OUTBOX_OK)
        r = listen_to_table(l, err);
    if (r < 0)
        return r;
    take_notifications(l);
    snprintf(sql, sizeof sql, "SELECT pg_catalog.pg_notify('outboxd_%" PRIu32 "', '')",
             s->conn.oid);
    r = pipeline_exec(&s->conn, sql, err);
    if (r < 0)
        return r;
    deadline_shorten(&l->conn.deadline, TRY_MS);
    r = await_notification(l, err);
    return r != OUTBOX_E_TIMEOUT
               ? r
               : outbox_fail(err, OUTBOX_E_CONFIG,
                             "what is sent through conninfo does not arrive; does notify_conninfo "
                             "lead to another database?");
}

int listener_try(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    struct outbox_err why = {.size = sizeof why};
    int r = try_notification(s, call, &why);
    return r == OUTBOX_OK ? r : outbox_fail(err, r, "notify: %.450s", why.text);
}
