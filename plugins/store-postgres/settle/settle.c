/* SPDX-License-Identifier: Apache-2.0 */
/* settle.c - what became of claimed rows. In the transaction that holds their locks it is one round
 * trip; see regain.c for what happens when that was lost. */
#include "settle/settle_sql.h"

#include <string.h>

static void clear(struct step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++)
        PQclear(steps[i].result);
}

/* ---- locks ---- */

/* A trigger or a policy may leave rows as they are, without an error: then they will be sent again.
 */
static void check_changed(struct settling *t, const struct step *steps)
{
    uint64_t skipped = 0;
    for (enum part part = 0; part < N_PARTS; part++) {
        size_t n = settling_members(t, part);
        if (n == 0)
            continue;
        uint64_t changed = db_changed((steps++)->result);
        for (size_t i = 0; changed < n && i < t->n; i++)
            t->stale[i] |= t->part[i];
        skipped += changed < n ? n - changed : 0;
    }
    if (skipped > 0)
        outbox_logf(
            t->s->host, OUTBOX_LOG_ERROR,
            "%s.%s left %llu of the messages that were settled as they were, and they will be "
            "sent again: look for a trigger or a policy that skips rows",
            t->s->schema, t->s->name.table, (unsigned long long)skipped);
}

/* In the transaction that is open, which ends with it either way. */
static int settle_locked(struct settling *t, struct outbox_err *err)
{
    struct step steps[N_PARTS + 1];
    struct args args[N_PARTS];
    size_t n = settling_add_parts(t, steps, 0, args);
    for (size_t i = 0; i < n; i++)
        if (steps[i].args->failed) /* our locks stay ours, and the next try finds them */
            return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    steps[n++] = (struct step){.slot = SLOT_COMMIT, .sql = "COMMIT"};
    t->c->unknown = true;
    int r = db_run(t->s, steps, n, err);
    t->c->open = false;
    /* An error that the server told on a connection that goes on means that nothing was done. */
    t->c->unknown = r < 0 && !t->s->db;
    if (r < 0)
        return r;
    for (size_t i = 0; i < t->n; i++)
        if (t->wanted[i])
            t->stale[i] = t->c->lost[t->items[i]->index];
    check_changed(t, steps);
    clear(steps, n);
    return OUTBOX_OK;
}

static int settle_by_locks(struct settling *t, struct outbox_err *err)
{
    if (t->c->open)
        return settle_locked(t, err);
    int r = regain(t, err);
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
        t->part[i] = t->wanted[i] && t->stale[i];
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
    uint64_t n_wanted = 0, n_changed = 0;
    for (size_t i = 0; i < t->n; i++)
        n_wanted += t->wanted[i];
    args_int(&lease, t->c->token);
    steps[0] = (struct step){.slot = SLOT_LEASE_LOCK,
                             .sql = "SELECT 1 FROM {t_leases} WHERE lease = $1 FOR KEY SHARE",
                             .args = &lease};
    size_t n = settling_add_parts(t, steps, 1, args), last = n;
    if (t->c->left == n_wanted)
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
    for (size_t i = 0; i < t->n; i++)
        if (t->wanted[i])
            t->stale[i] = n_changed < n_wanted;
    for (size_t i = 1; i < last && n_changed < n_wanted; i++)
        mark_changed(t, steps[i].result);
    clear(steps, n);
    if (!unknown || n_changed == n_wanted)
        return OUTBOX_OK;
    r = mark_settled_before(t, err);
    t->c->unknown = r < 0;
    return r;
}

/* ---- the operations ---- */

static int check_items(const struct claimed *c, const struct outbox_settle *const *items,
                       uint64_t n, struct outbox_err *err)
{
    for (uint64_t i = 0; i < n; i++) {
        if (items[i]->index >= c->batch.n || c->settled[items[i]->index])
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "settle: no such message in the batch, or settled already");
        if (items[i]->action < OUTBOX_SETTLE_DONE || items[i]->action > OUTBOX_SETTLE_FAILED)
            return outbox_fail(err, OUTBOX_E_NOTSUP, "settle: store-postgres has no lanes yet");
    }
    return OUTBOX_OK;
}

static int settle_items(struct settling *t, struct outbox_err *err)
{
    struct store *s = t->s;
    settling_fn *by = s->claiming == CLAIM_LOCKS ? settle_by_locks : settle_by_lease;
    if (settling_begin(t) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    int r = by(t, err);
    /* A reason that the database cannot hold must not keep accepted messages from being settled. */
    if (r < 0 && s->db && strncmp(s->failed_state, "22", 2) == 0) {
        t->plain = true;
        settling_retry(t);
        r = by(t, err);
    }
    return r < 0 ? settle_apart(t, by, r, err) : r;
}

/* The next claim need not look to know that this row is due then. */
static void note_delay(struct store *s, const struct outbox_settle *item)
{
    if (item->action != OUTBOX_SETTLE_RETRY || item->delay_ms <= 0 || item->delay_ms > INT32_MAX)
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
    if (c->left > 0)
        s->bound = INT64_MIN; /* what was given back is older than what comes */
    s->held = NULL;
    claim_forget(s);
    return r;
}
