/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relock.c - when the transaction that held a batch was lost (an error, a cut connection, a server
 * that ended it or crashed), those rows are locked once more which nobody has touched meanwhile: no
 * message is sent twice because a connection broke, and none is changed that another relay has had.
 */
#include "settle/settle_sql.h"

#include <string.h>

/* How often to ask what became of a transaction. */
#define AGAIN_MS 20

/* $1, $2: number and session of the transaction. A server that crashed may give the number again.
 */
#define OLD_SESSION                                                       \
    " FROM pg_catalog.pg_stat_activity a WHERE a.usename = current_user " \
    " AND a.pid = $2 AND a.backend_xid = ($1 & 4294967295)::text::xid"

enum fate { FATE_UNDONE, FATE_COMMITTED, FATE_GOES_ON, FATE_ANOTHER };

static void args_session(struct args *args, const struct settling *t)
{
    *args = (struct args){.arena = &t->s->scratch};
    args_int(args, t->c->xid);
    args_int(args, t->c->pid);
}

static int ask_fate(struct settling *t, enum fate *ret, struct outbox_err *err)
{
    struct args args;
    PGresult *result;
    args_session(&args, t);
    *ret = FATE_UNDONE;
    int r = db_query(t->s, SLOT_NONE,
                     "SELECT pg_catalog.txid_status($1), EXISTS (SELECT 1" OLD_SESSION ")", &args,
                     &result, err);
    /* In the future of a server that took over. */
    if (r < 0 && strcmp(t->s->failed_state, "22023") == 0) {
        t->s->failed_state[0] = '\0'; /* no failure */
        return OUTBOX_OK;
    }
    if (r < 0)
        return r;
    struct outbox_str status = column_text(result, 0, 0);
    if (outbox_str_eq(status, outbox_cstr("committed")))
        *ret = FATE_COMMITTED;
    else if (outbox_str_eq(status, outbox_cstr("in progress")))
        *ret = column_int(result, 0, 1) ? FATE_GOES_ON : FATE_ANOTHER;
    PQclear(result);
    return OUTBOX_OK;
}

/* A connection that was cut off somewhere between: its server waits for us, and holds our rows. One
 * that still works on our settle is let end. */
static int end_old_session(struct settling *t, struct outbox_err *err)
{
    struct args args;
    PGresult *result;
    args_session(&args, t);
    args_int(&args, t->c->unknown);
    int r = db_query(t->s, SLOT_NONE,
                     "SELECT pg_catalog.pg_terminate_backend(a.pid)" OLD_SESSION
                     " AND ($3 = 0 OR a.wait_event_type = 'Client')",
                     &args, &result, err);
    PQclear(result);
    return r;
}

/* What became of the transaction that held the locks, when that is over. */
static int await_fate(struct settling *t, struct outbox_err *err)
{
    enum fate fate = FATE_UNDONE, before;
    if (!t->c->xid)
        return OUTBOX_OK;
    do {
        before = fate;
        int r = ask_fate(t, &fate, err);
        if (r == 0 && fate == FATE_GOES_ON)
            r = end_old_session(t, err);
        if (r < 0)
            return r;
        if (fate == FATE_GOES_ON && !db_rest(t->s, AGAIN_MS))
            return outbox_fail(err, OUTBOX_E_RETRY,
                               "the server still has the transaction of the connection that was "
                               "lost");
        /* Another's, or ours just between the two looks; then the next one tells. */
    } while (fate == FATE_GOES_ON || (fate == FATE_ANOTHER && before != FATE_ANOTHER));
    t->c->committed |= fate == FATE_COMMITTED && t->c->unknown;
    return OUTBOX_OK;
}

/* A transaction whose number is known before it holds anything: should its answers be lost, too. */
static int begin_again(struct settling *t, struct outbox_err *err)
{
    struct step steps[] = {
        {.slot = SLOT_BEGIN, .sql = BEGIN},
        {.slot = SLOT_NONE, .sql = "SELECT pg_catalog.txid_current(), pg_catalog.pg_backend_pid()"},
    };
    int r = db_run(t->s, steps, 2, err);
    if (r < 0)
        return r;
    t->c->xid = column_int(steps[1].result, 0, 0);
    t->c->pid = column_int(steps[1].result, 0, 1);
    t->c->unknown = false;
    PQclear(steps[0].result);
    PQclear(steps[1].result);
    return OUTBOX_OK;
}

/* The item of a row that is still what was claimed; t->n for another one in its place. */
static size_t item_of_row(struct settling *t, const PGresult *rows, int row)
{
    struct outbox_str id;
    size_t i = settling_find(t, column_int(rows, row, 1));
    bool same = i < t->n && settling_message(t, i)->handle == column_ctid(rows, row, 0) &&
                column_uuid(rows, row, 2, &t->s->scratch, &id) == 0 &&
                outbox_str_eq(id, settling_message(t, i)->row_id);
    return same ? i : t->n;
}

/* Those rows that are as they were. */
static int lock_again(struct settling *t, struct outbox_err *err)
{
    struct args args = {.arena = &t->s->scratch};
    PGresult *rows;
    settling_args_rows(&args, t, t->held);
    int r = db_query(t->s, SLOT_NONE,
                     "SELECT m.ctid, m.seq, m.id FROM {t} m WHERE m.ctid = ANY ($1) AND m.status ="
                     " 'pending' FOR UPDATE SKIP LOCKED",
                     &args, &rows, err);
    if (r < 0)
        return r;
    memset(t->held, 0, t->n * sizeof *t->held);
    for (int row = 0; row < PQntuples(rows); row++) {
        size_t i = item_of_row(t, rows, row);
        if (i < t->n)
            t->held[i] = true;
    }
    PQclear(rows);
    return OUTBOX_OK;
}

int regain(struct settling *t, struct outbox_err *err)
{
    int r = await_fate(t, err);
    /* Rows that the last try settled are not as they were; a number that was given again says
     * nothing about the others. */
    if (r == 0)
        r = begin_again(t, err);
    if (r == 0)
        r = lock_again(t, err);
    for (size_t i = 0; r == 0 && i < t->n; i++) {
        if (!t->wanted[i])
            continue;
        uint8_t *lost = &t->c->lost[t->items[i]->index];
        *lost = t->held[i] ? 0 : t->c->committed ? *lost : 1;
    }
    return r;
}
