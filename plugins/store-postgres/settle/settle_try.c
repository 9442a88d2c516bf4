/* SPDX-License-Identifier: Apache-2.0 */
#include "settle/settle_sql.h"

/* ---- locks: in the transaction that holds the rows, which ends with it ---- */

/* A trigger or a policy may skip rows without an error, and only their number is known: all of
 * that part counts as skipped. */
static void check_changed(struct settle_sql *q, const struct step *steps)
{
    uint64_t skipped = 0;
    for (enum settle_part part = 0; part < N_PARTS; part++) {
        size_t n = settle_sql_mark(q, part);
        if (n == 0)
            continue;
        uint64_t changed = pipeline_changed((steps++)->result);
        if (changed >= n)
            continue;
        skipped += n - changed;
        for (size_t i = 0; i < q->n; i++)
            if (q->marked[i])
                *settle_sql_state(q, i) = ROW_LOST;
    }
    if (skipped > 0)
        outbox_logf(q->s->host, OUTBOX_LOG_ERROR,
                    "%s.%s did not change %llu rows that were settled, and their messages will be "
                    "sent again: look for a trigger or a policy that skips rows",
                    q->s->conn.schema, q->s->name.table, (unsigned long long)skipped);
}

static int settle_by_locks(struct settle_sql *q, struct outbox_err *err)
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
    if (r == OUTBOX_OK)
        check_changed(q, steps);
    pipeline_clear(steps, n);
    for (size_t i = 0; i < q->n; i++) {
        uint8_t *state = settle_sql_state(q, i);
        if (q->wanted[i] && r == OUTBOX_OK)
            *state = *state == ROW_HELD ? ROW_SETTLED : ROW_STALE;
        else if (q->wanted[i] && q->c->in_doubt && *state == ROW_HELD)
            *state = ROW_IN_DOUBT;
    }
    return r;
}

/* ---- leases: rows that still carry our lease are ours ---- */

/* The rows of a result, by their seq. */
static void mark_settled(struct settle_sql *q, const PGresult *rows)
{
    for (int row = 0; row < PQntuples(rows); row++) {
        size_t i = settle_sql_find(q, pg_column_int(rows, row, 0));
        if (i < q->n && q->wanted[i])
            *settle_sql_state(q, i) = ROW_SETTLED;
    }
}

/* After a settle whose answer was lost, of the stale rows: those that are gone, or still show our
 * lease, were settled by it. */
static int mark_settled_before(struct settle_sql *q, struct outbox_err *err)
{
    struct pg_args args = {.arena = &q->s->conn.scratch};
    PGresult *rows;
    for (size_t i = 0; i < q->n; i++)
        q->marked[i] = q->wanted[i] && *settle_sql_state(q, i) == ROW_STALE;
    settle_sql_args(q, &args);
    int r = pipeline_query(&q->s->conn, STMT_NONE,
                           "SELECT u.seq FROM unnest($1::int8[]) AS u(seq) LEFT JOIN {t} m ON"
                           " m.seq = u.seq WHERE m.seq IS NULL OR (m.lease = $2 AND m.status <>"
                           " 'processing')",
                           &args, &rows, err);
    if (r == OUTBOX_OK)
        mark_settled(q, rows);
    PQclear(rows);
    return r;
}

/* One pipeline: lock the lease, so that nobody expires it meanwhile; change the rows, which returns
 * those that carried it; end it, if nothing is left of the batch. */
static int settle_by_leases(struct settle_sql *q, struct outbox_err *err)
{
    struct store *s = q->s;
    struct pg_args args[N_PARTS], lease = {.arena = &s->conn.scratch};
    struct step steps[N_PARTS + 2] = {
        {.stmt = STMT_LEASE_LOCK,
         .sql = "SELECT 1 FROM {t_leases} WHERE lease = $1 FOR KEY SHARE",
         .args = &lease}};
    bool was_in_doubt = q->c->in_doubt;
    uint64_t n_wanted = 0, n_settled = 0;
    for (size_t i = 0; i < q->n; i++)
        n_wanted += q->wanted[i];
    pg_args_int(&lease, q->c->token);
    size_t parts = settle_sql_steps(q, steps + 1, args), n = 1 + parts;
    if (q->c->n_left == n_wanted)
        steps[n++] = (struct step){.stmt = STMT_LEASE_END,
                                   .sql = "DELETE FROM {t_leases} WHERE lease = $1",
                                   .args = &lease};
    int r = pipeline_run(&s->conn, steps, n, err);
    q->c->in_doubt = r < 0 && (was_in_doubt || !s->conn.db);
    if (r < 0)
        return r;
    for (size_t i = 0; i < q->n; i++)
        if (q->wanted[i])
            *settle_sql_state(q, i) = ROW_STALE;
    for (size_t i = 1; i <= parts; i++) {
        n_settled += (uint64_t)PQntuples(steps[i].result);
        mark_settled(q, steps[i].result);
    }
    pipeline_clear(steps, n);
    if (!was_in_doubt || n_settled == n_wanted)
        return OUTBOX_OK;
    r = mark_settled_before(q, err);
    q->c->in_doubt = r < 0;
    return r;
}

int settle_try(struct settle_sql *q, struct outbox_err *err)
{
    q->s->conn.sqlstate[0] = '\0'; /* so that it is this try's */
    return q->s->mode->kind == CLAIM_LOCKS ? settle_by_locks(q, err) : settle_by_leases(q, err);
}
