/* SPDX-License-Identifier: Apache-2.0 */
/* settle.c - what became of claimed rows: settled, given back, or held a little longer. */
#include "common/failpoint.h"
#include "common/utf8.h"
#include "sqlite.h"

#include <stdlib.h>
#include <string.h>

/* What last_error holds at most, bytes. */
#define REASON_MAX 4096

static sqlite3_stmt *by_token(struct store *s, enum slot slot, const char *sql, int64_t token,
                              struct outbox_err *err)
{
    sqlite3_stmt *statement = db_statement(s, slot, sql, err);
    if (statement)
        sqlite3_bind_int64(statement, 1, token);
    return statement;
}

static int end_lease(struct store *s, int64_t token, struct outbox_err *err)
{
    return db_run(
        s, by_token(s, SLOT_LEASE_END, "DELETE FROM \"{t}_leases\" WHERE lease = ?1", token, err),
        err);
}

/* ---- everything done: one statement for the whole batch ---- */

static bool all_done(const struct claimed *c, const struct outbox_settle *const *items, uint64_t n)
{
    if (n != c->batch.n || n != c->left)
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
    char now[MOMENT_SIZE];
    sqlite3_stmt *q;
    if (flags & OUTBOX_SETTLE_DELETE) {
        q = by_token(s, SLOT_DONE_ALL_DELETE,
                     "DELETE FROM \"{t}\" INDEXED BY \"{t}_held\" WHERE status = 'processing' AND "
                     "lease = ?1",
                     c->token, err);
    } else {
        q = by_token(s, SLOT_DONE_ALL_KEEP,
                     "UPDATE \"{t}\" INDEXED BY \"{t}_held\" SET status = 'processed', lease = "
                     "NULL, available_at = NULL,"
                     " processed_at = ?2 WHERE status = 'processing' AND lease = ?1",
                     c->token, err);
        if (q)
            db_bind(q, 2, outbox_cstr(moment_format(db_now(s), now)));
    }
    int r = db_run(s, q, err);
    *ret_ok = r == 0 && sqlite3_changes64(s->db) == c->batch.n;
    return r;
}

/* ---- row by row ---- */

static int delete_one(struct store *s, const struct claimed *c, int64_t seq, struct outbox_err *err)
{
    sqlite3_stmt *q = db_statement(
        s, SLOT_DELETE_ONE,
        "DELETE FROM \"{t}\" WHERE seq = ?1 AND lease = ?2 AND status = 'processing'", err);
    if (!q)
        return s->failure;
    sqlite3_bind_int64(q, 1, seq);
    sqlite3_bind_int64(q, 2, c->token);
    return db_run(s, q, err);
}

static int change_one(struct store *s, const struct claimed *c, const struct outbox_settle *item,
                      int64_t seq, struct outbox_err *err)
{
    char now[MOMENT_SIZE], reason[REASON_MAX + 1];
    const char *status = item->action == OUTBOX_SETTLE_DONE    ? "processed"
                         : item->action == OUTBOX_SETTLE_RETRY ? "pending"
                                                               : "failed";
    sqlite3_stmt *q = db_statement(
        s, SLOT_SETTLE_ONE,
        "UPDATE \"{t}\" SET status = ?3, lease = NULL, retries = retries + ?4,"
        " last_error = coalesce(?5, last_error), available_at = ?6,"
        " processed_at = coalesce(?7, processed_at) WHERE seq = ?1 AND lease = ?2 AND status ="
        " 'processing'",
        err);
    if (!q)
        return s->failure;
    sqlite3_bind_int64(q, 1, seq);
    sqlite3_bind_int64(q, 2, c->token);
    db_bind(q, 3, outbox_cstr(status));
    sqlite3_bind_int(q, 4, (item->flags & OUTBOX_SETTLE_CHARGE) != 0);
    if (item->flags & OUTBOX_SETTLE_REASON) {
        size_t n = utf8_clean(item->reason.p ? item->reason.p : "", (size_t)item->reason.n, reason,
                              sizeof reason);
        db_bind(q, 5, (struct outbox_str){reason, n});
    }
    if (item->action == OUTBOX_SETTLE_RETRY && item->delay_ms > 0)
        sqlite3_bind_int64(q, 6, db_now_plus(s, item->delay_ms));
    if (item->action == OUTBOX_SETTLE_DONE)
        db_bind(q, 7, outbox_cstr(moment_format(db_now(s), now)));
    return db_run(s, q, err);
}

static int settle_one(struct store *s, const struct claimed *c, const struct outbox_settle *item,
                      uint8_t *ret_stale, struct outbox_err *err)
{
    int64_t seq = c->batch.messages[item->index]->seq;
    int r;
    if (item->action == OUTBOX_SETTLE_DONE && (item->flags & OUTBOX_SETTLE_DELETE))
        r = delete_one(s, c, seq, err);
    else
        r = change_one(s, c, item, seq, err);
    *ret_stale = r == 0 && sqlite3_changes64(s->db) == 0;
    return r;
}

/* Undone as a whole: a savepoint would cost every batch a copy of the pages it changes. */
static int begin_again(struct store *s, struct outbox_err *err)
{
    int r = db_exec(s, "ROLLBACK", err);
    return r < 0 ? r : db_begin(s, err);
}

static int settle_inside(struct store *s, const struct claimed *c,
                         const struct outbox_settle *const *items, uint64_t n, uint8_t *stale,
                         struct outbox_err *err)
{
    bool ok = false;
    int r = OUTBOX_OK;
    if (all_done(c, items, n)) {
        r = settle_whole(s, c, items[0]->flags, &ok, err);
        if (r == 0 && !ok)
            r = begin_again(s, err);
    }
    for (uint64_t i = 0; r == 0 && i < n; i++) {
        stale[i] = 0;
        if (!ok)
            r = settle_one(s, c, items[i], &stale[i], err);
    }
    if (r == 0 && c->left == n)
        r = end_lease(s, c->token, err);
    return r;
}

static int check_items(const struct claimed *c, const struct outbox_settle *const *items,
                       uint64_t n, struct outbox_err *err)
{
    for (uint64_t i = 0; i < n; i++) {
        if (items[i]->index >= c->batch.n || c->settled[items[i]->index])
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "settle: no such message in the batch, or "
                               "settled already");
        if (items[i]->action < OUTBOX_SETTLE_DONE || items[i]->action > OUTBOX_SETTLE_FAILED)
            return outbox_fail(err, OUTBOX_E_NOTSUP, "settle: store-sqlite has no lanes yet");
    }
    return OUTBOX_OK;
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
        r = db_enter(s, call, err);
    if (r < 0 || n == 0)
        return r;
    r = db_begin(s, err);
    if (r < 0)
        return r;
    r = settle_inside(s, c, items, n, stale, err);
    failpoint("in_settle");
    r = r < 0 ? db_rollback(s, r) : db_commit(s, err);
    if (r < 0)
        return r;
    for (uint64_t i = 0; i < n; i++)
        c->settled[items[i]->index] = 1;
    c->left -= (uint32_t)n;
    return OUTBOX_OK;
}

static int give_back(struct store *s, int64_t token, const struct outbox_call *call,
                     struct outbox_err *err)
{
    int r = db_enter(s, call, err);
    if (r == 0)
        r = db_begin(s, err);
    if (r < 0)
        return r;
    r = db_run(s,
               by_token(s, SLOT_RELEASE,
                        "UPDATE \"{t}\" INDEXED BY \"{t}_held\" SET status = 'pending', lease ="
                        " NULL WHERE status = 'processing' AND lease = ?1",
                        token, err),
               err);
    if (r == 0)
        r = end_lease(s, token, err);
    return r < 0 ? db_rollback(s, r) : db_commit(s, err);
}

int release(void *instance, struct outbox_batch *batch, const struct outbox_call *call,
            struct outbox_err *err)
{
    struct store *s = instance;
    struct claimed *c = s->held;
    if (!c || batch != &c->batch)
        return outbox_fail(err, OUTBOX_E_CONFIG, "release: this batch is not held");
    int r = c->left > 0 ? give_back(s, c->token, call, err) : OUTBOX_OK;
    s->held = NULL;
    arena_reset(&s->claim_arena);
    return r;
}

int renew(void *instance, struct outbox_str lease, uint32_t lease_ms,
          const struct outbox_call *call, uint64_t *ret_held, struct outbox_err *err)
{
    struct store *s = instance;
    char text[24];
    *ret_held = 0;
    if (lease.n >= sizeof text)
        return outbox_fail(err, OUTBOX_E_CONFIG, "renew: no such lease");
    memcpy(text, lease.p, (size_t)lease.n);
    text[lease.n] = '\0';
    int64_t token = strtoll(text, NULL, 10);
    int r = db_enter(s, call, err);
    if (r < 0)
        return r;
    sqlite3_stmt *q = by_token(s, SLOT_RENEW,
                               "UPDATE \"{t}_leases\" SET until = ?2 WHERE lease = ?1", token, err);
    if (q)
        sqlite3_bind_int64(q, 2, db_now_plus(s, lease_ms));
    r = db_run(s, q, err);
    if (r < 0 || sqlite3_changes64(s->db) == 0)
        return r;
    q = by_token(s, SLOT_LEASE_HELD,
                 "SELECT count(*) FROM \"{t}\" INDEXED BY \"{t}_held\" WHERE status = 'processing' "
                 "AND lease = ?1",
                 token, err);
    if (!q)
        return s->failure;
    if (sqlite3_step(q) != SQLITE_ROW)
        return db_fail(s, err);
    *ret_held = (uint64_t)sqlite3_column_int64(q, 0);
    sqlite3_reset(q);
    return OUTBOX_OK;
}
