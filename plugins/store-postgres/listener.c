/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener.c - news of commits, on a connection of its own. See statements.c for the gate: it is
 * shut while the relay waits. After that one more claim is due, because a producer that committed
 * just before has not notified.
 */
#include "schema/schema.h"
#include "store.h"

/* Producers that hold the gate open and do not end are waited for this long; until they do, the
 * host claims as often. */
#define GATE_MS "100"
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
                           "notify: LISTEN does not work through a pooler in transaction mode; let "
                           "notify_conninfo lead to the server itself");
    snprintf(sql, sizeof sql, "LISTEN outboxd_%lu", (unsigned long)l->conn.oid);
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
