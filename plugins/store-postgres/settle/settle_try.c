/* SPDX-License-Identifier: Apache-2.0 */
#include "settle/settle_sql.h"

#include <stdio.h>

/* The rows of a result, by their seq. */
static void mark_settled(struct settle_sql *q, const PGresult *rows)
{
    for (int row = 0; row < PQntuples(rows); row++) {
        size_t i = settle_sql_find(q, pg_column_int(rows, row, 0));
        if (i < q->n && q->wanted[i])
            *settle_sql_state(q, i) = q->mode < SETTLE_SECOND ? ROW_SETTLED : ROW_REFUSED;
    }
}

/* ---- locks: in the transaction that holds the rows, which ends with it ---- */

/* A trigger or a policy may skip rows without an error, and only their number is known: all of
 * that part are in doubt, and those that are still where they were, were skipped. */
static void check_changed(struct settle_sql *q, const struct step *steps)
{
    for (enum settle_part part = 0; part < N_PARTS; part++) {
        size_t n = settle_sql_mark(q, part);
        if (n == 0 || pipeline_changed((steps++)->result) >= n)
            continue;
        q->c->in_doubt = true;
        for (size_t i = 0; i < q->n; i++)
            if (q->marked[i])
                *settle_sql_state(q, i) = ROW_IN_DOUBT;
    }
}

static int try_locks(struct settle_sql *q, struct outbox_err *err)
{
    struct step steps[N_PARTS + 1];
    struct pg_args args[N_PARTS];
    int r = conn_has_session(&q->s->conn, q->c->session) ? OUTBOX_OK : relock_rows(q, err);
    if (r < 0)
        return r;
    size_t n = settle_sql_steps(q, steps, args);
    steps[n++] = STEP_COMMIT;
    r = pipeline_run(&q->s->conn, steps, n, err);
    q->c->session = 0;
    q->c->in_doubt = r < 0 && !q->s->conn.db; /* what a living connection failed is undone */
    if (r < 0 && q->s->conn.db)
        q->c->xid = 0;
    if (r == OUTBOX_OK)
        check_changed(q, steps);
    pipeline_clear(steps, n);
    for (size_t i = 0; i < q->n; i++) {
        uint8_t *state = settle_sql_state(q, i);
        if (q->wanted[i] && r == OUTBOX_OK && *state != ROW_IN_DOUBT)
            *state = *state == ROW_HELD ? ROW_SETTLED : ROW_STALE;
        else if (q->wanted[i] && q->c->in_doubt && *state == ROW_HELD)
            *state = ROW_IN_DOUBT;
    }
    return r;
}

/* ---- leases: rows that still carry our lease are ours ---- */

/* For a row that another session has locked, at most; so that enough of the call is left. */
#define LOCK_MS 4000

/* One pipeline: lock the lease, so that nobody expires it meanwhile; change the rows, which returns
 * those that carried it. */
struct lease_pipeline {
    struct step steps[N_PARTS + 2];
    struct pg_args args[N_PARTS], locked, ended;
    char lock_ms[24];
    size_t n;
};

static void make_lease_pipeline(struct settle_sql *q, bool ends, struct lease_pipeline *ret)
{
    struct arena *arena = &q->s->conn.scratch;
    int64_t ms = q->s->conn.deadline.timeout_ms / 3, token = q->no_rows ? 0 : q->c->token;
    snprintf(ret->lock_ms, sizeof ret->lock_ms, "%lldms", (long long)(ms < LOCK_MS ? ms : LOCK_MS));
    ret->locked = ret->ended = (struct pg_args){.arena = arena};
    pg_args_int(&ret->locked, token);
    pg_args_text(&ret->locked, outbox_cstr(ret->lock_ms));
    pg_args_int(&ret->ended, token);
    ret->steps[0] = (struct step){.stmt = STMT_LEASE_LOCK,
                                  .sql = "SELECT pg_catalog.set_config('lock_timeout', $2, true),"
                                         " (SELECT 1 FROM {t_leases} WHERE lease = $1"
                                         "  FOR KEY SHARE)",
                                  .args = &ret->locked};
    ret->n = 1 + settle_sql_steps(q, ret->steps + 1, ret->args);
    if (ends)
        ret->steps[ret->n++] = (struct step){.stmt = STMT_LEASE_END,
                                             .sql = "DELETE FROM {t_leases} WHERE lease = $1",
                                             .args = &ret->ended};
}

/* Of the wanted rows that were not changed: which are ours no more, and which, after a settle whose
 * answer was lost, were settled by it: those that are gone, or still show our lease. */
static int sort_unchanged(struct settle_sql *q, bool was_in_doubt, struct outbox_err *err)
{
    struct pg_args args = {.arena = &q->s->conn.scratch};
    PGresult *rows;
    size_t n = 0;
    for (size_t i = 0; i < q->n; i++) {
        q->marked[i] = q->wanted[i] && *settle_sql_state(q, i) == ROW_HELD;
        n += q->marked[i];
    }
    if (n == 0)
        return OUTBOX_OK;
    settle_sql_args(q, &args);
    int r = pipeline_query(&q->s->conn, STMT_NONE,
                           "SELECT u.seq, m.seq IS NULL, COALESCE(m.lease = $2, false),"
                           " COALESCE(m.status = 'processing', false) FROM unnest($1::int8[]) AS"
                           " u(seq) LEFT JOIN ONLY {t} m ON m.seq = u.seq",
                           &args, &rows, err);
    for (int row = 0; r == OUTBOX_OK && row < PQntuples(rows); row++) {
        size_t i = settle_sql_find(q, pg_column_int(rows, row, 0));
        bool gone = pg_column_int(rows, row, 1), ours = pg_column_int(rows, row, 2);
        bool processing = pg_column_int(rows, row, 3);
        if (i < q->n && !(ours && processing))
            *settle_sql_state(q, i) = was_in_doubt && (gone || ours) ? ROW_SETTLED : ROW_STALE;
    }
    PQclear(rows);
    return r;
}

/* It ends the lease if nothing is left of the batch. */
static int try_leases(struct settle_sql *q, bool may_end, struct outbox_err *err)
{
    struct store *s = q->s;
    struct lease_pipeline p = {.n = 0};
    bool was_in_doubt = q->c->in_doubt;
    uint64_t n_wanted = 0;
    for (size_t i = 0; i < q->n; i++)
        n_wanted += q->wanted[i];
    bool ends = may_end && q->c->n_left == n_wanted;
    make_lease_pipeline(q, ends, &p);
    int r = pipeline_run(&s->conn, p.steps, p.n, err);
    q->c->in_doubt = r < 0 && (was_in_doubt || !s->conn.db);
    if (r < 0)
        return r;
    for (size_t i = 1; i + ends < p.n; i++)
        mark_settled(q, p.steps[i].result);
    pipeline_clear(p.steps, p.n);
    q->c->ended |= ends;
    r = sort_unchanged(q, was_in_doubt, err);
    q->c->in_doubt = r < 0 && was_in_doubt;
    return r;
}

int settle_find_locked(struct settle_sql *q, size_t *ret_n, struct outbox_err *err)
{
    struct pg_args args = {.arena = &q->s->conn.scratch};
    PGresult *rows;
    memcpy(q->marked, q->wanted, q->n * sizeof *q->marked);
    settle_sql_args(q, &args);
    int r = pipeline_query(&q->s->conn, STMT_NONE,
                           "WITH free AS MATERIALIZED (SELECT m.seq FROM ONLY {t} m WHERE"
                           "  m.seq = ANY ($1) AND m.status = 'processing' AND m.lease = $2"
                           "  FOR UPDATE SKIP LOCKED)"
                           " SELECT m.seq FROM ONLY {t} m WHERE m.seq = ANY ($1)"
                           " AND m.status = 'processing' AND m.lease = $2"
                           " AND NOT EXISTS (SELECT 1 FROM free WHERE free.seq = m.seq)",
                           &args, &rows, err);
    memset(q->marked, 0, q->n * sizeof *q->marked);
    *ret_n = 0;
    for (int row = 0; r == OUTBOX_OK && row < PQntuples(rows); row++) {
        size_t i = settle_sql_find(q, pg_column_int(rows, row, 0));
        if (i < q->n && q->wanted[i]) {
            q->marked[i] = true;
            *ret_n += 1;
        }
    }
    PQclear(rows);
    return r;
}

/* ---- both ---- */

int settle_try(struct settle_sql *q, struct outbox_err *err)
{
    q->s->conn.sqlstate[0] = '\0'; /* so that it is this try's */
    return q->s->mode->kind == CLAIM_LOCKS ? try_locks(q, err) : try_leases(q, true, err);
}

int settle_try_part(struct settle_sql *q, struct outbox_err *err)
{
    struct step steps[N_PARTS];
    struct pg_args args[N_PARTS];
    q->s->conn.sqlstate[0] = '\0';
    if (q->s->mode->kind == CLAIM_LEASES)
        return try_leases(q, false, err);
    size_t n = settle_sql_steps(q, steps, args);
    int r = pipeline_try(&q->s->conn, steps, n, err);
    for (size_t i = 0; r == OUTBOX_OK && i < n; i++)
        mark_settled(q, steps[i].result);
    pipeline_clear(steps, n);
    for (size_t i = 0; i < q->n; i++)
        q->open[i] |= q->wanted[i] && *settle_sql_state(q, i) > ROW_LOST;
    return r;
}

int settle_try_nothing(struct settle_sql *q, struct outbox_err *err)
{
    struct lease_pipeline p = {.n = 0};
    int r;
    q->no_rows = true;
    if (q->s->mode->kind == CLAIM_LEASES)
        make_lease_pipeline(q, true, &p);
    else
        p.n = settle_sql_steps(q, p.steps, p.args);
    r = pipeline_run(&q->s->conn, p.steps, p.n, err);
    pipeline_clear(p.steps, p.n);
    q->no_rows = false;
    return r;
}
