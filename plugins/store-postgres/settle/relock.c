/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relock.c - when the transaction that held a batch is over without having settled it (a refused
 * row, a cut connection, a server that ended it or crashed), or with rows that it did not change,
 * those rows are locked once more which
 * nobody has touched meanwhile: no message is sent twice because a connection broke, and none is
 * changed that another relay has had. Three steps, of which the order matters:
 *
 *   1. The old session is ended, or ends its settle, so that its transaction is decided and its
 *      locks are free. It may outlive our connection, since a server notices late.
 *   2. If the last settle's answer was lost, the server knows whether it was committed.
 *   3. A new transaction locks the rows that still are at the address where they were claimed. Any
 *      change moves a row, so such a row had no other settle; and a row that moved is another
 *      relay's, or was settled by the commit of step 2.
 */
#include "settle/settle_sql.h"

/* Between two checks whether a session has ended. */
#define AGAIN_MS 20

/* The session is known by its number and that of its transaction: a pooler may have given the
 * session to another client by now. A session that works on our settle ($3) may finish it, unless
 * it waits for us. */
static int end_old_session(struct settle_sql *q, struct outbox_err *err)
{
    while (q->c->xid) {
        struct pg_args args = {.arena = &q->s->conn.scratch};
        PGresult *found;
        pg_args_int(&args, q->c->xid);
        pg_args_int(&args, q->c->pid);
        pg_args_int(&args, q->c->in_doubt);
        int r = pipeline_query(&q->s->conn, STMT_NONE,
                               "SELECT CASE WHEN $3 = 0 OR a.wait_event_type = 'Client'"
                               " THEN pg_catalog.pg_terminate_backend(a.pid) END"
                               " FROM pg_catalog.pg_stat_activity a WHERE a.usename = current_user"
                               " AND a.pid = $2 AND a.backend_xid = ($1 & 4294967295)::text::xid",
                               &args, &found, err);
        bool ended = r == OUTBOX_OK && PQntuples(found) == 0;
        PQclear(found);
        if (r < 0 || ended)
            return r;
        if (!deadline_sleep(&q->s->conn.deadline, AGAIN_MS))
            return outbox_fail(err, OUTBOX_E_RETRY,
                               "the server still has the transaction of the connection that was "
                               "lost");
    }
    return OUTBOX_OK;
}

/* After end_old_session. A server that took over from another may not know the number, or, after a
 * crash, give it again: then the old transaction was not committed. */
static int was_committed(struct settle_sql *q, bool *ret, struct outbox_err *err)
{
    struct pg_args args = {.arena = &q->s->conn.scratch};
    int64_t committed = 0;
    *ret = false;
    if (!q->c->in_doubt)
        return OUTBOX_OK;
    pg_args_int(&args, q->c->xid);
    int r = pipeline_number(&q->s->conn, "SELECT pg_catalog.txid_status($1) = 'committed'", &args,
                            &committed, err);
    *ret = committed != 0;
    return r < 0 && failure_is(&q->s->conn, "22023") ? OUTBOX_OK : r;
}

/* The number of the new transaction is known before it holds anything: should its answers be lost,
 * too. */
static int begin(struct settle_sql *q, struct outbox_err *err)
{
    struct step steps[] = {
        STEP_BEGIN, {.sql = "SELECT pg_catalog.txid_current(), pg_catalog.pg_backend_pid()"}};
    int r = pipeline_run(&q->s->conn, steps, 2, err);
    if (r < 0)
        return r;
    q->c->session = q->s->conn.session;
    q->c->xid = pg_column_int(steps[1].result, 0, 0);
    q->c->pid = pg_column_int(steps[1].result, 0, 1);
    q->c->in_doubt = false;
    pipeline_clear(steps, 2);
    return OUTBOX_OK;
}

/* Is that row what was claimed, and not another one in its place? */
static bool is_same(struct settle_sql *q, size_t i, const PGresult *rows, int row)
{
    struct outbox_str id;
    return i < q->n && settle_sql_message(q, i)->handle == pg_column_ctid(rows, row, 0) &&
           pg_column_uuid(rows, row, 2, &q->s->conn.scratch, &id) == OUTBOX_OK &&
           outbox_str_eq(id, settle_sql_message(q, i)->row_id);
}

static int lock(struct settle_sql *q, bool committed, struct outbox_err *err)
{
    struct pg_args args = {.arena = &q->s->conn.scratch};
    PGresult *rows;
    memcpy(q->marked, q->wanted, q->n * sizeof *q->marked);
    settle_sql_args(q, &args);
    int r = pipeline_query(&q->s->conn, STMT_NONE,
                           "SELECT m.ctid, m.seq, m.id FROM ONLY {t} m WHERE m.ctid = ANY ($1) AND"
                           " m.status = 'pending' FOR UPDATE SKIP LOCKED",
                           &args, &rows, err);
    if (r < 0)
        return r;
    memset(q->marked, 0, q->n * sizeof *q->marked);
    for (int row = 0; row < PQntuples(rows); row++) {
        size_t i = settle_sql_find(q, pg_column_int(rows, row, 1));
        if (is_same(q, i, rows, row))
            q->marked[i] = true;
    }
    PQclear(rows);
    for (size_t i = 0; i < q->n; i++) {
        uint8_t *state = settle_sql_state(q, i);
        if (!q->wanted[i])
            continue;
        if (q->marked[i])
            *state = ROW_HELD;
        else
            *state = committed && *state == ROW_IN_DOUBT ? ROW_SETTLED : ROW_LOST;
        q->wanted[i] = *state != ROW_SETTLED;
    }
    return OUTBOX_OK;
}

int relock_rows(struct settle_sql *q, struct outbox_err *err)
{
    bool committed = false;
    int r = end_old_session(q, err);
    if (r == OUTBOX_OK)
        r = was_committed(q, &committed, err);
    if (r == OUTBOX_OK)
        r = begin(q, err);
    return r == OUTBOX_OK ? lock(q, committed, err) : r;
}
