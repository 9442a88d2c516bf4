/* SPDX-License-Identifier: Apache-2.0 */
/* locks.c - claims that are row locks, in a transaction that stays open until the settle. Its
 * number and its session's are noted, so that relock.c can find out what became of it. */
#include "claim/claim_mode.h"

#define LOCKED(columns, rows) "SELECT " columns " FROM ONLY {t} m WHERE " rows

static void add_args(const struct claim_batch *b, struct pg_args *args)
{
    (void)b, (void)args;
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
    if (conn_has_session(&s->conn, c->session)) {
        conn_resume(&s->conn, call);
        pipeline_rollback(&s->conn);
    }
    return OUTBOX_OK;
}

const struct claim_mode locks_mode = {
    .kind = CLAIM_LOCKS,
    .capabilities = OUTBOX_STORE_FREES_ON_DEATH,
    .fresh = LOCKED(ROW_COLUMNS, FRESH_ROWS),
    .due = LOCKED(ROW_COLUMNS, DUE_ROWS),
    .these = LOCKED(ROW_COLUMNS, THESE_ROWS),
    .these_bare = LOCKED(UNREADABLE_COLUMNS, THESE_ROWS),
    .fresh_stmt = STMT_FRESH_LOCK,
    .due_stmt = STMT_DUE_LOCK,
    .add_args = add_args,
    .cancel = cancel,
    .keep = keep,
    .release = release,
};
