/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settle.c - what became of claimed rows. In the transaction that holds their locks it is one round
 * trip. When that transaction was lost (an error, a cut connection, a server that ended it), those
 * rows are locked once more which nobody has touched meanwhile, and settled: no message is sent
 * twice because a connection broke, and none is changed that another relay has had.
 */
#include "settling.h"

#include <string.h>

/* How often to ask what became of a transaction. */
#define AGAIN_MS 20

static void clear(struct step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++)
        PQclear(steps[i].result);
}

/* ---- locks ---- */

/* In the transaction that is open, which ends with it either way. */
static int settle_locked(struct settling *t, struct outbox_err *err)
{
    struct step steps[N_PARTS + 1];
    struct args args[N_PARTS];
    size_t n = settling_add_parts(t, steps, 0, args);
    steps[n++] = (struct step){.slot = SLOT_COMMIT, .sql = "COMMIT"};
    t->c->unknown = true;
    int r = db_run(t->s, steps, n, err);
    t->c->open = false;
    /* An error that the server told on a connection that goes on means that nothing was done. */
    t->c->unknown = r < 0 && !t->s->db;
    if (r < 0)
        return r;
    clear(steps, n);
    for (size_t i = 0; i < t->n; i++)
        t->stale[i] = !t->held[i];
    return OUTBOX_OK;
}

/* A connection that was cut off somewhere between: its server waits for us, and holds our rows. One
 * that still works on our settle is let end. */
static int end_old_session(struct settling *t, struct outbox_err *err)
{
    struct args args = {.arena = &t->s->scratch};
    PGresult *result;
    args_int(&args, t->c->xid);
    args_int(&args, t->c->unknown);
    int r = db_query(t->s, SLOT_NONE,
                     "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM"
                     " pg_catalog.pg_stat_activity a WHERE a.usename = current_user"
                     " AND a.backend_xid = ($1 & 4294967295)::text::xid"
                     " AND ($2 = 0 OR a.wait_event_type = 'Client')",
                     &args, &result, err);
    PQclear(result);
    return r;
}

/* Of the transaction that held the locks; neither: it was undone, or never heard of. */
static int ask_status(struct settling *t, bool *ret_goes_on, bool *ret_committed,
                      struct outbox_err *err)
{
    struct args args = {.arena = &t->s->scratch};
    PGresult *result;
    struct outbox_str status = {NULL, 0};
    args_int(&args, t->c->xid);
    int r = db_query(t->s, SLOT_NONE, "SELECT pg_catalog.txid_status($1)", &args, &result, err);
    if (r == 0)
        status = column_text(result, 0, 0);
    else if (strcmp(t->s->failed_state, "22023") == 0)
        r = OUTBOX_OK; /* in the future of a server that took over */
    *ret_goes_on = outbox_str_eq(status, outbox_cstr("in progress"));
    *ret_committed = outbox_str_eq(status, outbox_cstr("committed"));
    PQclear(result);
    return r;
}

/* What became of the transaction that held the locks: committed after all: 1; not: 0; or nobody
 * knows yet. */
static int was_committed(struct settling *t, struct outbox_err *err)
{
    while (t->c->xid) {
        bool goes_on, committed;
        int r = ask_status(t, &goes_on, &committed, err);
        if (r < 0)
            return r;
        if (!goes_on)
            return committed && t->c->unknown;
        r = end_old_session(t, err);
        if (r < 0)
            return r;
        if (!db_rest(t->s, AGAIN_MS))
            return outbox_fail(err, OUTBOX_E_RETRY,
                               "the server still has the transaction of the connection that was "
                               "lost");
    }
    return 0;
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

/* A transaction whose number is known before it holds anything: should its answers be lost, too. */
static int begin_again(struct settling *t, struct outbox_err *err)
{
    struct step steps[] = {
        {.slot = SLOT_BEGIN, .sql = BEGIN},
        {.slot = SLOT_NONE, .sql = "SELECT pg_catalog.txid_current()"},
    };
    int r = db_run(t->s, steps, 2, err);
    if (r < 0)
        return r;
    t->c->xid = column_int(steps[1].result, 0, 0);
    t->c->unknown = false;
    clear(steps, 2);
    return OUTBOX_OK;
}

/* Locks those rows again that are as they were; the others' claim is lost. */
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
    for (size_t i = 0; i < t->n; i++)
        t->c->lost[t->items[i]->index] = !t->held[i];
    PQclear(rows);
    return OUTBOX_OK;
}

static int settle_by_locks(struct settling *t, struct outbox_err *err)
{
    if (t->c->open)
        return settle_locked(t, err);
    int r = was_committed(t, err);
    if (r > 0)
        for (size_t i = 0; i < t->n; i++)
            t->stale[i] = t->c->lost[t->items[i]->index];
    if (r != 0)
        return r < 0 ? r : OUTBOX_OK;
    r = begin_again(t, err);
    if (r == 0)
        r = lock_again(t, err);
    return r < 0 ? r : settle_locked(t, err);
}

/* ---- leases ---- */

/* The item of each row that a statement changed is not stale. */
static void mark_changed(struct settling *t, const PGresult *rows)
{
    for (int row = 0; row < PQntuples(rows); row++) {
        size_t i = settling_find(t, column_int(rows, row, 0));
        if (i < t->n)
            t->stale[i] = 0;
    }
}

/* After a settle whose answer was lost: rows that are gone, or still show our lease, were its. */
static int mark_settled_before(struct settling *t, struct outbox_err *err)
{
    struct args args = {.arena = &t->s->scratch};
    PGresult *rows;
    for (size_t i = 0; i < t->n; i++)
        t->part[i] = t->stale[i];
    settling_args_rows(&args, t, t->part);
    args_int(&args, t->c->token);
    int r = db_query(t->s, SLOT_NONE,
                     "SELECT u.seq FROM unnest($1::int8[]) AS u(seq) LEFT JOIN {t} m ON m.seq ="
                     " u.seq WHERE m.seq IS NULL OR (m.lease = $2 AND m.status <> 'processing')",
                     &args, &rows, err);
    if (r == 0)
        mark_changed(t, rows);
    PQclear(rows);
    return r;
}

static int settle_by_lease(struct settling *t, struct outbox_err *err)
{
    struct store *s = t->s;
    struct step steps[N_PARTS + 2];
    struct args args[N_PARTS], lease = {.arena = &s->scratch};
    bool unknown = t->c->unknown;
    uint64_t n_changed = 0;
    args_int(&lease, t->c->token);
    steps[0] = (struct step){.slot = SLOT_LEASE_LOCK,
                             .sql = "SELECT 1 FROM {t_leases} WHERE lease = $1 FOR KEY SHARE",
                             .args = &lease};
    size_t n = settling_add_parts(t, steps, 1, args), last = n;
    if (t->c->left == t->n)
        steps[n++] = (struct step){.slot = SLOT_LEASE_END,
                                   .sql = "DELETE FROM {t_leases} WHERE lease = $1",
                                   .args = &lease};
    t->c->unknown = true;
    int r = db_run(s, steps, n, err);
    t->c->unknown = r < 0 && (unknown || !s->db);
    if (r < 0)
        return r;
    for (size_t i = 1; i < last; i++)
        n_changed += (uint64_t)PQntuples(steps[i].result);
    memset(t->stale, n_changed < t->n, t->n);
    for (size_t i = 1; i < last && n_changed < t->n; i++)
        mark_changed(t, steps[i].result);
    clear(steps, n);
    return unknown && n_changed < t->n ? mark_settled_before(t, err) : OUTBOX_OK;
}

/* ---- the operations ---- */

static int check_items(const struct claimed *c, const struct outbox_settle *const *items,
                       uint64_t n, struct outbox_err *err)
{
    for (uint64_t i = 0; i < n; i++) {
        if (items[i]->index >= c->batch.n || c->settled[items[i]->index])
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "settle: no such message in the batch, or settled already");
        if (items[i]->verdict < OUTBOX_SETTLE_DONE || items[i]->verdict > OUTBOX_SETTLE_FAILED)
            return outbox_fail(err, OUTBOX_E_NOTSUP, "settle: store-postgres has no lanes yet");
    }
    return OUTBOX_OK;
}

static int settle_items(struct settling *t, struct outbox_err *err)
{
    struct store *s = t->s;
    int (*by)(struct settling *, struct outbox_err *) =
        s->claiming == CLAIM_LOCKS ? settle_by_locks : settle_by_lease;
    if (settling_begin(t) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    int r = by(t, err);
    /* A reason that the database cannot hold must not keep accepted messages from being settled. */
    if (r < 0 && s->db && strncmp(s->failed_state, "22", 2) == 0) {
        t->plain = true;
        settling_retry(t);
        r = by(t, err);
    }
    return r;
}

/* The next claim need not look to know that this row is due then. */
static void note_delay(struct store *s, const struct outbox_settle *item)
{
    if (item->verdict != OUTBOX_SETTLE_RETRY || item->delay_ms <= 0 || item->delay_ms > INT32_MAX)
        return;
    int64_t due_us = s->host->monotonic_us(s->host) + item->delay_ms * 1000;
    if (due_us < s->outlook.delayed_us)
        s->outlook.delayed_us = due_us;
}

int settle(void *instance, struct outbox_batch *batch, const struct outbox_settle *const *items,
           uint64_t n, const struct outbox_call *call, uint8_t *stale, struct outbox_err *err)
{
    struct store *s = instance;
    struct claimed *c = s->held;
    if (!c || batch != &c->batch)
        return outbox_fail(err, OUTBOX_E_CONFIG, "settle: this batch is not held");
    int r = check_items(c, items, n, err);
    if (r == 0 && n > 0)
        r = db_enter_held(s, call, err);
    if (r < 0 || n == 0)
        return r;
    struct settling t = {.s = s, .c = c, .items = items, .stale = stale, .n = (size_t)n};
    r = settle_items(&t, err);
    if (r < 0)
        return r;
    for (uint64_t i = 0; i < n; i++) {
        c->settled[items[i]->index] = 1;
        note_delay(s, items[i]);
    }
    c->left -= (uint32_t)n;
    return OUTBOX_OK;
}

int release(void *instance, struct outbox_batch *batch, const struct outbox_call *call,
            struct outbox_err *err)
{
    struct store *s = instance;
    struct claimed *c = s->held;
    int r = OUTBOX_OK;
    if (!c || batch != &c->batch)
        return outbox_fail(err, OUTBOX_E_CONFIG, "release: this batch is not held");
    if (c->open) {
        db_resume(s, call);
        db_rollback(s, 0);
        c->open = false;
    } else if (s->claiming == CLAIM_LEASES && c->left > 0) {
        r = db_enter_held(s, call, err);
        r = r < 0 ? r : leases_give_back(s, c->token, err);
    }
    s->held = NULL;
    claim_forget(s);
    return r;
}
