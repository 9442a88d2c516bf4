/* SPDX-License-Identifier: Apache-2.0 */
/* locks.c - claims that are row locks, in a transaction that stays open until the settle. Its
 * number and its session's are noted, so that relock.c can find out what became of it. */
#include "claim/claim_mode.h"
#include "claim/claim_sql.h"
#include "claim/row.h"
#include "store.h"

#define LOCKED(columns, rows) "SELECT " columns " FROM {t} m WHERE " rows

static void add_args(const struct claim_batch *b, struct pg_args *args)
{
    (void)b, (void)args;
}

static int run(struct claim_batch *b, struct step *main, struct step *backlog,
               struct outbox_err *err)
{
    struct step first = STEP_BEGIN;
    struct step xid = {.stmt = STMT_XID,
                       .sql = "SELECT pg_catalog.txid_current_if_assigned(),"
                              " pg_catalog.pg_backend_pid()"};
    struct step *steps[] = {&first, main, &xid, backlog};
    size_t skip = b->begun;
    int r = pipeline_run_list(&b->s->conn, steps + skip, 4 - skip - !backlog, err);
    b->begun = r == OUTBOX_OK; /* else it was rolled back */
    if (b->begun && !PQgetisnull(xid.result, 0, 0)) {
        b->c->xid = pg_column_int(xid.result, 0, 0);
        b->c->pid = pg_column_int(xid.result, 0, 1);
    }
    PQclear(first.result);
    PQclear(xid.result);
    return r;
}

static void cancel(struct claim_batch *b)
{
    pipeline_rollback(&b->s->conn);
}

static void keep(struct claim_batch *b)
{
    b->c->session = b->s->conn.session;
}

static int release(struct store *s, struct claimed *c, const struct outbox_call *call,
                   struct outbox_err *err)
{
    (void)err;
    if (claimed_is_open(c, &s->conn)) {
        conn_resume(&s->conn, call);
        pipeline_rollback(&s->conn);
    }
    return OUTBOX_OK;
}

const struct claim_mode locks_mode = {
    .kind = CLAIM_LOCKS,
    .keeps_transaction = true,
    .capabilities = OUTBOX_STORE_FREES_ON_DEATH,
    .fresh = LOCKED(ROW_COLUMNS, FRESH_ROWS),
    .due = LOCKED(ROW_COLUMNS, DUE_ROWS),
    .these = LOCKED(UNREADABLE_COLUMNS, THESE_ROWS),
    .fresh_stmt = STMT_FRESH_LOCK,
    .due_stmt = STMT_DUE_LOCK,
    .add_args = add_args,
    .run = run,
    .cancel = cancel,
    .keep = keep,
    .release = release,
};
