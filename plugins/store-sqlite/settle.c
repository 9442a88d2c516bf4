/* SPDX-License-Identifier: Apache-2.0 */
/* settle.c - what becomes of claimed rows: settled, or released. */
#include "settle.h"

#include "common/failpoint.h"
#include "common/utf8.h"
#include "db.h"
#include "lease.h"
#include "refused.h"

/* What last_error holds at most, bytes. */
#define REASON_MAX 4096

/* ---- everything done: one statement for the whole batch ---- */

static bool all_done(const struct claimed *c, const struct outbox_settle *const *items, uint64_t n)
{
    if (n != c->batch.n || n != c->n_unsettled)
        return false;
    for (uint64_t i = 0; i < n; i++)
        if (items[i]->action != OUTBOX_SETTLE_DONE || items[i]->flags != items[0]->flags ||
            (items[i]->flags & ~OUTBOX_SETTLE_DELETE))
            return false;
    return true;
}

/* *ret_ok: every row was still ours. If not, nothing counts: it has to be done row by row. */
static int settle_whole(struct store *s, const struct claimed *c, uint32_t flags, bool *ret_ok,
                        struct outbox_err *err)
{
    char now[TIMESTAMP_SIZE];
    int r;
    if (flags & OUTBOX_SETTLE_DELETE)
        r = db_run(s, STMT_DONE_DELETE,
                   "DELETE FROM \"{t}\" INDEXED BY \"{t}_held\" WHERE status = 'processing' AND"
                   " lease = ?1",
                   DB_ARGS(DB_INT(c->lease)), err);
    else
        r = db_run(
            s, STMT_DONE_KEEP,
            "UPDATE \"{t}\" INDEXED BY \"{t}_held\" SET status = 'processed', lease ="
            " NULL, available_at = NULL, last_error = '', processed_at = ?2 WHERE status = "
            "'processing' AND"
            " lease = ?1",
            DB_ARGS(DB_INT(c->lease), DB_TEXT(outbox_cstr(timestamp_format(db_now(s), now)))), err);
    *ret_ok = r == 0 && sqlite3_changes64(s->db) == c->batch.n;
    return r;
}

/* ---- row by row ---- */

static int change_one(struct store *s, int64_t lease, const struct outbox_settle *item, int64_t seq,
                      struct outbox_err *err)
{
    static const char *const statuses[] = {[OUTBOX_SETTLE_DONE] = "processed",
                                           [OUTBOX_SETTLE_RETRY] = "pending",
                                           [OUTBOX_SETTLE_FAILED] = "failed"};
    char now[TIMESTAMP_SIZE], text[REASON_MAX + 1];
    struct outbox_str reason = {item->action == OUTBOX_SETTLE_DONE ? "" : NULL, 0};
    struct outbox_str processed_at = {NULL, 0};
    if (item->flags & OUTBOX_SETTLE_REASON) {
        reason.n = utf8_clean(item->reason.p ? item->reason.p : "", (size_t)item->reason.n, text,
                              sizeof text);
        reason.p = text;
    }
    if (item->action == OUTBOX_SETTLE_DONE)
        processed_at = outbox_cstr(timestamp_format(db_now(s), now));
    bool delayed = item->action == OUTBOX_SETTLE_RETRY && item->delay_ms > 0;
    return db_run(
        s, STMT_SETTLE_ONE,
        "UPDATE \"{t}\" SET status = ?3, lease = NULL, retries = retries + ?4,"
        " last_error = coalesce(?5, last_error), available_at = ?6,"
        " processed_at = coalesce(?7, processed_at) WHERE seq = ?1 AND lease = ?2 AND status ="
        " 'processing'",
        DB_ARGS(DB_INT(seq), DB_INT(lease), DB_TEXT(outbox_cstr(statuses[item->action])),
                DB_INT((item->flags & OUTBOX_SETTLE_CHARGE) != 0), DB_TEXT(reason),
                delayed ? DB_INT(db_now_plus(s, item->delay_ms)) : DB_NULL, DB_TEXT(processed_at)),
        err);
}

/* A row that is not ours any more is stale; one that is, and did not change, was skipped. */
int settle_one(struct store *s, int64_t seq, int64_t lease, const struct outbox_settle *item,
               uint8_t *ret_settled, struct outbox_err *err)
{
    int64_t held = 0;
    int r;
    if (item->action == OUTBOX_SETTLE_DONE && (item->flags & OUTBOX_SETTLE_DELETE))
        r = db_run(s, STMT_DELETE_ONE,
                   "DELETE FROM \"{t}\" WHERE seq = ?1 AND lease = ?2 AND status = 'processing'",
                   DB_ARGS(DB_INT(seq), DB_INT(lease)), err);
    else
        r = change_one(s, lease, item, seq, err);
    *ret_settled = OUTBOX_SETTLED;
    if (r < 0 || sqlite3_changes64(s->db) > 0)
        return r;
    *ret_settled = OUTBOX_SETTLED_STALE;
    r = db_read_int(
        s, STMT_ROW_STILL,
        "SELECT EXISTS (SELECT 1 FROM \"{t}\" WHERE seq = ?1 AND lease = ?2 AND status ="
        " 'processing')",
        DB_ARGS(DB_INT(seq), DB_INT(lease)), &held, err);
    return r == 0 && held ? db_skipped(s, err) : r;
}

/* What was settled by a call that failed later is settled already. */
static int settle_item(struct store *s, const struct claimed *c, const struct outbox_settle *item,
                       uint8_t *ret_settled, struct outbox_err *err)
{
    if (c->settled[item->index]) {
        *ret_settled = c->settled[item->index] - 1;
        return OUTBOX_OK;
    }
    return settle_one(s, c->batch.messages[item->index]->seq, c->lease, item, ret_settled, err);
}

static void note_settled(struct claimed *c, uint32_t index, uint8_t settled)
{
    c->n_unsettled -= !c->settled[index];
    c->settled[index] = 1 + settled;
    c->has_quarantined |= settled == OUTBOX_SETTLED_QUARANTINED;
}

/*
 * Most batches are done as a whole, which one statement settles by the lease, without naming a row.
 * If it changed fewer rows than the batch has, some were no longer ours; which ones, only a settle
 * row by row tells. The lease ends with its last row, in the same transaction.
 */
static int settle_items(struct store *s, const struct claimed *c,
                        const struct outbox_settle *const *items, uint64_t n, uint8_t *settled,
                        struct outbox_err *err)
{
    bool whole = false;
    int r = OUTBOX_OK;
    if (all_done(c, items, n)) {
        r = settle_whole(s, c, items[0]->flags, &whole, err);
        /* A savepoint would cost every batch a copy of the pages that it changes. */
        if (r == 0 && !whole && (r = db_exec(s, "ROLLBACK", err)) == 0)
            r = db_begin(s, err);
    }
    for (uint64_t i = 0; r == 0 && i < n; i++) {
        settled[i] = OUTBOX_SETTLED;
        if (!whole)
            r = settle_item(s, c, items[i], &settled[i], err);
    }
    if (r == 0 && c->n_unsettled == n && !c->has_quarantined)
        r = lease_end(s, c->lease, err);
    return r;
}

/* ---- where the database refuses a row ---- */

struct careful {
    struct claimed *c;
    const struct outbox_settle *const *items;
    uint8_t *settled;
};

static int change(struct store *s, void *ctx, size_t i, struct outbox_err *err)
{
    struct careful *how = ctx;
    return settle_item(s, how->c, how->items[i], &how->settled[i], err);
}

static void passed(struct store *s, void *ctx, size_t i)
{
    struct careful *how = ctx;
    (void)s;
    note_settled(how->c, how->items[i]->index, how->settled[i]);
}

static int refused(struct store *s, void *ctx, size_t i, struct outbox_err *err)
{
    struct careful *how = ctx;
    uint32_t index = how->items[i]->index;
    int r = settle_refused(s, how->c->batch.messages[index]->seq, how->c->lease, how->items[i],
                           &how->settled[i], err);
    if (r == 0)
        note_settled(how->c, index, how->settled[i]);
    return r;
}

static int settle_carefully(struct store *s, struct claimed *c,
                            const struct outbox_settle *const *items, uint64_t n, uint8_t *settled,
                            struct outbox_err *err)
{
    struct careful how = {c, items, settled};
    const struct refused_change by = {&how, change, passed, refused};
    int r = refused_run(s, &by, n, err);
    return r == 0 && c->n_unsettled == 0 && !c->has_quarantined ? lease_end(s, c->lease, err) : r;
}

/* ---- the operations ---- */

static int check_items(const struct claimed *c, const struct outbox_settle *const *items,
                       uint64_t n, struct outbox_err *err)
{
    for (uint64_t i = 0; i < n; i++) {
        if (items[i]->index >= c->batch.n)
            return outbox_fail(err, OUTBOX_E_CONFIG, "settle: no such message in the batch");
        if (items[i]->action < OUTBOX_SETTLE_DONE || items[i]->action > OUTBOX_SETTLE_FAILED)
            return outbox_fail(err, OUTBOX_E_NOTSUP, "settle: store-sqlite has no lanes yet");
    }
    return OUTBOX_OK;
}

int settle(void *instance, struct outbox_batch *batch, const struct outbox_settle *const *items,
           uint64_t n, const struct outbox_call *call, uint8_t *settled, struct outbox_err *err)
{
    struct store *s = instance;
    struct claimed *c = s->claim.batch;
    if (!c || batch != &c->batch)
        return outbox_fail(err, OUTBOX_E_CONFIG, "settle: the instance does not hold this batch");
    int r = check_items(c, items, n, err);
    if (r == 0 && n > 0)
        r = connect_begin(s, call, err);
    if (r < 0 || n == 0)
        return r;
    r = settle_items(s, c, items, n, settled, err);
    failpoint("in_settle");
    r = db_end(s, r, err);
    if (r < 0)
        return s->row_at_fault ? settle_carefully(s, c, items, n, settled, err) : r;
    for (uint64_t i = 0; i < n; i++)
        note_settled(c, items[i]->index, settled[i]);
    return OUTBOX_OK;
}

int settle_release(void *instance, struct outbox_batch *batch, const struct outbox_call *call,
                   struct outbox_err *err)
{
    struct store *s = instance;
    struct claimed *c = s->claim.batch;
    int r = OUTBOX_OK;
    if (!c || batch != &c->batch)
        return outbox_fail(err, OUTBOX_E_CONFIG, "release: the instance does not hold this batch");
    if (c->n_unsettled > 0 || c->has_quarantined)
        r = connect_enter(s, call, err);
    if (r == 0 && c->n_unsettled > 0)
        r = lease_free(s, c->lease, err);
    else if (r == 0 && c->has_quarantined)
        r = lease_end_or_hold(s, c->lease, err);
    s->claim.batch = NULL;
    arena_reset(&s->claim.arena);
    return r;
}
