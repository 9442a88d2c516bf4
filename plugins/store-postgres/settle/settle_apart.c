/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settle_apart.c - a settle is one transaction for all rows. If the database refuses that, it is
 * tried for each half, a half of those, ... until the refused rows are found: they keep nothing
 * else from being settled, least of all what was accepted.
 *
 * With leases each part is a transaction of its own. With locks all parts are savepoints in one,
 * which has locked the rows once more: else other relays would take, and send, what waits for its
 * turn. It is committed before the call's time is over, and the next call goes on.
 */
#include "common/bisect.h"
#include "settle/settle_sql.h"

#include <stdio.h>

/* A reason that the database cannot hold is written in ASCII. */
static int try_part(struct settle_sql *q, struct outbox_err *err)
{
    int r = settle_try_part(q, err);
    if (r == OUTBOX_OK || q->ascii || !q->s->conn.db || !failure_is(&q->s->conn, "22"))
        return r;
    q->ascii = true;
    return settle_try_part(q, err);
}

static int set_aside(struct settle_sql *q, size_t i, const char *why, struct outbox_err *err)
{
    if (!store_set_aside(q->s, settle_sql_message(q, i)->seq, why))
        return outbox_fail(err, OUTBOX_E_RETRY, "the table refuses more than %d rows: %s",
                           QUARANTINE_MAX, why);
    owed_add(q, i);
    *settle_sql_state(q, i) = ROW_QUARANTINED;
    q->open[i] = q->in_parts;
    return OUTBOX_OK;
}

/* One row was refused, for this reason: writes what can be written of it, see <outbox/store.h>. */
static int settle_refused(struct settle_sql *q, size_t i, const char *why, struct outbox_err *err)
{
    static const char *const done[N_SETTLE_MODES] = {
        "", "it is kept as processed", "it is written without the reason",
        "it has its second outcome", "it has its second outcome, without the reason"};
    const struct outbox_message *m = settle_sql_message(q, i);
    struct outbox_err failure = {.size = sizeof failure};
    char reason[sizeof q->s->conn.words + 40];
    enum settle_mode mode = SETTLE_FULL;
    int n = snprintf(reason, sizeof reason, "the database refuses it: %s", why), r = OUTBOX_OK;
    q->why = (struct outbox_str){reason, (uint64_t)n};
    while (*settle_sql_state(q, i) == ROW_HELD && ++mode < N_SETTLE_MODES) {
        if (!settle_sql_has(q, i, mode))
            continue;
        q->mode = mode;
        settle_sql_want(q, i, 1);
        r = try_part(q, &failure);
        if (r < 0 && !failure_may_be_a_row(&q->s->conn))
            break;
        r = OUTBOX_OK;
    }
    q->mode = SETTLE_FULL;
    if (r < 0)
        return outbox_fail(err, r, "%s", failure.text);
    if (mode == N_SETTLE_MODES)
        return set_aside(q, i, why, err);
    if (*settle_sql_state(q, i) == ROW_STALE)
        return OUTBOX_OK;
    outbox_logf(q->s->host, OUTBOX_LOG_ERROR, "message %.*s: the table refuses its outcome; %s: %s",
                (int)m->id.n, m->id.p, done[mode], why);
    return OUTBOX_OK;
}

/* What is left of a part that passed was skipped. */
static int settle_skipped(struct settle_sql *q, size_t from, size_t count, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    for (size_t i = from; r == OUTBOX_OK && i < from + count; i++)
        if (*settle_sql_state(q, i) == ROW_HELD)
            r = settle_refused(q, i, SETTLE_SKIPPED, err);
    return r;
}

static bool has_time(const struct settle_sql *q)
{
    const struct deadline *d = &q->s->conn.deadline;
    return deadline_left_ms(d) > d->timeout_ms / 4;
}

/* Until all are decided, or the time is over. */
static int settle_parts(struct settle_sql *q, struct outbox_err *err)
{
    struct bisect b;
    size_t from, count;
    int r = OUTBOX_OK;
    bisect_begin(&b, q->n);
    while (r == OUTBOX_OK && has_time(q) && bisect_range(&b, &from, &count)) {
        char why[sizeof q->s->conn.words];
        struct outbox_err failure = {.size = sizeof failure};
        r = settle_sql_want(q, from, count) > 0 ? try_part(q, &failure) : OUTBOX_OK;
        memcpy(why, q->s->conn.words, sizeof why);
        if (r == OUTBOX_OK) {
            bisect_passed(&b);
            r = settle_skipped(q, from, count, err);
        } else if (!failure_may_be_a_row(&q->s->conn)) {
            outbox_fail(err, r, "%s", failure.text);
        } else if (r = OUTBOX_OK, bisect_failed(&b)) {
            r = settle_refused(q, from, why, err);
        }
    }
    return r;
}

/* Locks: ends the transaction of the parts, and makes durable what was decided. */
static int commit_parts(struct settle_sql *q, int r, struct outbox_err *err)
{
    struct conn *conn = &q->s->conn;
    struct outbox_err failure = {.size = sizeof failure};
    bool was_alive = conn->db != NULL;
    int committed = was_alive ? pipeline_end(conn, OUTBOX_OK, &failure) : OUTBOX_E_RETRY;
    q->in_parts = false;
    q->c->session = 0;
    q->c->in_doubt = committed < 0 && was_alive && !conn->db;
    if (committed < 0 && conn->db)
        q->c->xid = 0;
    for (size_t i = 0; i < q->n; i++) {
        uint8_t *state = settle_sql_state(q, i);
        if (q->open[i] && committed < 0)
            *state = q->c->in_doubt ? ROW_IN_DOUBT : ROW_HELD;
        else if (*state == ROW_LOST && committed == OUTBOX_OK && r == OUTBOX_OK)
            *state = ROW_STALE;
    }
    return r < 0 || committed == OUTBOX_OK ? r : outbox_fail(err, committed, "%s", failure.text);
}

static int settle_in_parts(struct settle_sql *q, struct outbox_err *err)
{
    bool locks = q->s->mode->kind == CLAIM_LOCKS;
    int r = locks ? relock_rows(q, err) : OUTBOX_OK;
    if (r < 0)
        return r;
    memset(q->open, 0, q->n * sizeof *q->open);
    q->in_parts = locks;
    r = settle_parts(q, err);
    if (locks)
        r = commit_parts(q, r, err);
    if (r == OUTBOX_OK && settle_sql_want(q, 0, q->n) > 0)
        r = outbox_fail(err, OUTBOX_E_RETRY,
                        "the table refuses rows, and it takes longer to find them all");
    return r;
}

/* Leases: what another session has locked is set aside, and the others are settled. */
static int settle_unlocked(struct settle_sql *q, struct outbox_err *err)
{
    size_t n;
    struct outbox_err failure = {.size = sizeof failure};
    int r = settle_find_locked(q, &n, &failure);
    if (r < 0 || n == 0) /* the table is locked, then */
        return r < 0 ? outbox_fail(err, r, "%s", failure.text) : OUTBOX_E_TIMEOUT;
    for (size_t i = 0; r == OUTBOX_OK && i < q->n; i++)
        if (q->marked[i])
            r = set_aside(q, i, SETTLE_LOCKED, err);
    if (r == OUTBOX_OK && settle_sql_want(q, 0, q->n) > 0)
        r = settle_try(q, err);
    return r;
}

int settle_apart(struct settle_sql *q, struct outbox_err *err)
{
    struct outbox_err failure = {.size = sizeof failure}; /* err may be NULL */
    const struct conn *conn = &q->s->conn;
    int r = settle_sql_want(q, 0, q->n) > 0 ? settle_try(q, &failure) : OUTBOX_OK;
    if (r < 0 && conn->db && q->s->mode->kind == CLAIM_LEASES && failure_is(conn, "55P03"))
        r = settle_unlocked(q, &failure);
    if (r < 0 && (!failure_may_be_a_row(conn) || settle_try_nothing(q, NULL) < 0))
        return outbox_fail(err, r, "%s", failure.text);
    return settle_sql_want(q, 0, q->n) > 0 ? settle_in_parts(q, err) : OUTBOX_OK;
}
