/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.c - news of commits, on a connection of its own. See notify.c for the gate: it is shut while
 * the relay waits. After it was shut one more look is due, because a producer that committed just
 * before has not notified.
 */
#include "postgres.h"

#include <stdio.h>
#include <stdlib.h>

/* Producers that hold the gate open and do not end are waited for this long; until they do, the
 * host looks as often. */
#define GATE_MS "100"
/* While another relay keeps the gate shut it is asked for so often. */
#define SHADOW_MS 1000

#define ARGUMENTS NOTIFY_GATE ", $1::int8::oid::int4"

static int ask(struct store *w, const char *sql, bool *ret, struct outbox_err *err)
{
    struct args args = {.arena = &w->scratch};
    PGresult *result;
    args_int(&args, w->oid);
    int r = db_query(w, SLOT_NONE, sql, &args, &result, err);
    if (r == 0)
        *ret = PQntuples(result) > 0 && column_int(result, 0, 0) != 0;
    PQclear(result);
    return r;
}

static int listen_to(struct store *w, struct outbox_err *err)
{
    char sql[64];
    if (w->pooled)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "notify: LISTEN does not work through a pooler in transaction mode; let "
                           "notify_conninfo lead to the server itself");
    snprintf(sql, sizeof sql, "LISTEN outboxd_%lu", (unsigned long)w->oid);
    int r = db_exec(w, sql, err);
    w->listens = r == 0;
    w->gate_is_shut = false;
    w->look_is_due = true;
    return r;
}

/* Is the gate shut by another relay? */
static int is_shut_by_another(struct store *w, bool *ret, struct outbox_err *err)
{
    return ask(w,
               "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND"
               " database = (SELECT oid FROM pg_catalog.pg_database WHERE datname ="
               " pg_catalog.current_database()) AND classid = " NOTIFY_GATE "::oid AND objid ="
               " $1::int8::oid AND objsubid = 2 AND mode = 'ExclusiveLock' AND granted)",
               ret, err);
}

/* Waits for the producers that have it open; those who come meanwhile notify. */
static int push_gate(struct store *w, struct outbox_err *err)
{
    struct args args = {.arena = &w->scratch};
    args_int(&args, w->oid);
    struct step steps[] = {
        {.slot = SLOT_BEGIN, .sql = BEGIN},
        {.slot = SLOT_NONE, .sql = "SET LOCAL lock_timeout = " GATE_MS},
        {.slot = SLOT_NONE,
         .sql = "SELECT pg_catalog.pg_advisory_lock(" ARGUMENTS ")",
         .args = &args},
        {.slot = SLOT_COMMIT, .sql = "COMMIT"},
    };
    int r = db_run(w, steps, 4, err);
    for (int i = 0; r == 0 && i < 4; i++)
        PQclear(steps[i].result);
    if (r < 0 && w->db && w->failed_state[0] == '5' && w->failed_state[1] == '5')
        return OUTBOX_OK; /* not yet */
    w->gate_is_shut = r == 0;
    return r;
}

/* *ret_shadow: another relay keeps it shut, so producers notify anyway. */
static int shut_gate(struct store *w, bool *ret_shadow, struct outbox_err *err)
{
    *ret_shadow = false;
    int r = ask(w, "SELECT pg_catalog.pg_try_advisory_lock(" ARGUMENTS ")", &w->gate_is_shut, err);
    if (r < 0 || w->gate_is_shut)
        return r;
    r = is_shut_by_another(w, ret_shadow, err);
    return r < 0 || *ret_shadow ? r : push_gate(w, err);
}

static bool take_notifications(struct store *w)
{
    PGnotify *notification;
    bool any = false;
    while ((notification = PQnotifies(w->db))) {
        PQfreemem(notification);
        any = true;
    }
    return any;
}

/* Until somebody notifies. */
static int await(struct store *w, struct outbox_err *err)
{
    while (!take_notifications(w)) {
        int r = db_poll(w, w->db, false);
        if (r != OUTBOX_OK)
            return r;
        if (!PQconsumeInput(w->db)) {
            r = failure_of(w, w->db, NULL, err);
            db_close(w);
            return r;
        }
    }
    return OUTBOX_OK;
}

int wait_for_news(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct store *w = ((struct store *)instance)->watch;
    bool shadow = false;
    if (!w)
        return outbox_fail(err, OUTBOX_E_NOTSUP, "notify is off");
    int r = db_enter(w, call, err);
    if (r == 0 && !w->listens)
        r = listen_to(w, err);
    if (r < 0)
        return r;
    if (take_notifications(w))
        return OUTBOX_OK;
    if (!w->gate_is_shut) {
        bool look = w->look_is_due;
        r = shut_gate(w, &shadow, err);
        if (r < 0)
            return r;
        w->look_is_due = false;
        if (!shadow || look)
            return OUTBOX_OK; /* one more look, whether it is shut now or not */
        int64_t soon = w->host->monotonic_us(w->host) + SHADOW_MS * 1000;
        w->deadline_us = soon < w->deadline_us ? soon : w->deadline_us;
    }
    return await(w, err);
}

/* Producers need not notify: nobody waits. */
int wait_rest(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct store *w = ((struct store *)instance)->watch;
    bool open;
    if (!w || !w->gate_is_shut)
        return OUTBOX_OK;
    int r = OUTBOX_OK;
    db_resume(w, call);
    if (w->gate_is_shut)
        r = ask(w, "SELECT pg_catalog.pg_advisory_unlock(" ARGUMENTS ")", &open, err);
    if (r < 0)
        db_close(w); /* which opens it */
    w->gate_is_shut = false;
    w->look_is_due = true;
    return r;
}
