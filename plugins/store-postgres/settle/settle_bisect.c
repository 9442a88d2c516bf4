/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settle_bisect.c - a settle is one transaction, and one more for each half, of a half, ... that
 * the table refuses (a check, a trigger, a type of its owner's): the refused row is found, and
 * keeps nothing else from being settled, least of all what was accepted. Savepoints would do as
 * much in one transaction, and would cost every settle; this costs only those that are refused.
 */
#include "common/bisect.h"
#include "settle/settle_sql.h"

/* A reason that the database cannot hold is written in ASCII. */
static int try_wanted(struct settle_sql *q, struct outbox_err *err)
{
    int r = settle_try(q, err);
    if (r == OUTBOX_OK || q->ascii || !q->s->conn.db || !failure_is(&q->s->conn, "22"))
        return r;
    q->ascii = true;
    return settle_try(q, err);
}

/*
 * One row was refused, as *err says. What can be written of it is: its outcome without the reason,
 * or at least that it waits, so that it is not sent again and again. If not even that: a message
 * that was not sent, for a defect, never will be, and its row goes to the quarantine. Any other one
 * is not settled.
 */
static int settle_refused(struct settle_sql *q, size_t i, bool *ret_settled, struct outbox_err *err)
{
    struct store *s = q->s;
    const struct outbox_message *m = settle_sql_message(q, i);
    static const enum settle_mode lesser[] = {SETTLE_WITHOUT_REASON, SETTLE_POSTPONE};
    struct outbox_err why = {.size = sizeof why};
    int r = OUTBOX_E_RETRY;
    for (size_t k = 0; k < 2 && r < 0; k++) {
        q->mode = lesser[k];
        settle_sql_want(q, i, 1);
        r = settle_try(q, &why);
        if (r < 0 && !failure_is_refused_row(&s->conn))
            return outbox_fail(err, r, "%s", why.text);
    }
    bool postponed = q->mode == SETTLE_POSTPONE;
    q->mode = SETTLE_FULL;
    outbox_logf(s->host, OUTBOX_LOG_ERROR, "message %.*s: the table refuses its outcome%s: %s",
                (int)m->id.n, m->id.p,
                r < 0       ? ""
                : postponed ? "; it will be sent again"
                            : ", and takes it without the reason",
                err->text);
    bool quarantined = r < 0 && row_quarantine_add(s, m->seq, why.text);
    *ret_settled = r == OUTBOX_OK || (quarantined && m->defect.p);
    if (*ret_settled && postponed)
        *settle_sql_state(q, i) = ROW_STALE;
    return OUTBOX_OK;
}

int settle_bisect(struct settle_sql *q, struct outbox_err *err)
{
    struct bisect b;
    struct outbox_err refusal = {.size = sizeof refusal}; /* err may be NULL */
    int last = OUTBOX_OK;
    bool any = false;
    size_t from, count;
    bisect_begin(&b, q->n);
    while (bisect_range(&b, &from, &count)) {
        bool settled = true;
        int r = settle_sql_want(q, from, count) > 0 ? try_wanted(q, &refusal) : OUTBOX_OK;
        if (r == OUTBOX_OK) {
            bisect_passed(&b);
        } else if (!failure_is_refused_row(&q->s->conn)) {
            return outbox_fail(err, r, "%s", refusal.text);
        } else {
            last = r;
            settled = false;
            if (bisect_failed(&b) && (r = settle_refused(q, from, &settled, &refusal)) < 0)
                return outbox_fail(err, r, "%s", refusal.text);
        }
        any |= settled;
    }
    return any ? OUTBOX_OK : outbox_fail(err, last, "%s", refusal.text);
}
