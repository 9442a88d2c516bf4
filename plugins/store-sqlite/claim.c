/* SPDX-License-Identifier: Apache-2.0 */
/*
 * claim.c - rows become ours for a time. A claim is a random number in each of its rows and a
 * row of {t}_leases that says until when; settling names the number, so that whoever comes late
 * changes nothing. Looking for work takes no lock: an idle relay never writes.
 */
#include "sqlite.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How often to look for rows that are `processing` without a lease of ours. */
#define ADOPT_MS 5000

/* The indexes are named: statistics taken at a bad moment, or somebody else's index, must not
 * make a claim read every row that is kept. */
#define READY                                                                       \
    "\"{t}\" INDEXED BY \"{t}_ready\" WHERE status = 'pending' AND available_at IS" \
    " NULL AND lane IS NULL"
#define DELAYED                                                                       \
    "\"{t}\" INDEXED BY \"{t}_delayed\" WHERE status = 'pending' AND available_at IS" \
    " NOT NULL AND lane IS NULL"
#define STRAY                                                                   \
    "\"{t}\" INDEXED BY \"{t}_held\" WHERE status = 'processing' AND (lease IS" \
    " NULL OR lease NOT IN (SELECT lease FROM \"{t}_leases\"))"

/* What a look without a lock found. */
struct found {
    bool ready;
    bool strays;        /* rows that nobody's lease holds, times that are text */
    int64_t delayed_us; /* the first delayed row's time, which may be 0; INT64_MAX: none */
    int64_t until_us;   /* the end of the lease that ends first; INT64_MAX: none */
    int64_t now_us;
};

static int64_t time_or_none(sqlite3_stmt *q, int column)
{
    return sqlite3_column_type(q, column) == SQLITE_NULL ? INT64_MAX
                                                         : sqlite3_column_int64(q, column);
}

static int look(struct store *s, bool adopt, struct found *found, struct outbox_err *err)
{
    sqlite3_stmt *q = db_statement(
        s, SLOT_LOOK,
        "SELECT EXISTS (SELECT 1 FROM " READY "), (SELECT min(until) FROM \"{t}_leases\"),"
        " (SELECT min(available_at) FROM " DELAYED " AND available_at < ''),"
        " CASE WHEN ?1 THEN EXISTS (SELECT 1 FROM " STRAY ")"
        "  OR EXISTS (SELECT 1 FROM " DELAYED " AND available_at >= '') END",
        err);
    if (!q)
        return s->failure;
    sqlite3_bind_int(q, 1, adopt);
    if (sqlite3_step(q) != SQLITE_ROW)
        return db_fail(s, err);
    found->ready = sqlite3_column_int(q, 0);
    found->until_us = time_or_none(q, 1);
    found->delayed_us = time_or_none(q, 2);
    found->strays = sqlite3_column_int(q, 3);
    found->now_us = db_now(s);
    sqlite3_reset(q);
    return OUTBOX_OK;
}

/* ---- what others left behind ---- */

static bool is_past(int64_t us, const struct found *found)
{
    return us <= found->now_us;
}

static int expire(struct store *s, int64_t *ret_n, struct outbox_err *err)
{
    int64_t now = db_now(s);
    sqlite3_stmt *rows = db_statement(
        s, SLOT_EXPIRE_ROWS,
        "UPDATE \"{t}\" INDEXED BY \"{t}_held\" SET status = 'pending', lease = NULL WHERE"
        " status = 'processing' AND lease IN (SELECT lease FROM \"{t}_leases\" WHERE until <= ?1)",
        err);
    if (rows)
        sqlite3_bind_int64(rows, 1, now);
    int r = db_run(s, rows, err);
    if (r < 0)
        return r;
    *ret_n = sqlite3_changes64(s->db);
    sqlite3_stmt *leases =
        db_statement(s, SLOT_EXPIRE_LEASES, "DELETE FROM \"{t}_leases\" WHERE until <= ?1", err);
    if (leases)
        sqlite3_bind_int64(leases, 1, now);
    return db_run(s, leases, err);
}

static void tell_expired(struct store *s, int64_t n)
{
    if (n == 0)
        return;
    s->host->count(s->host, "lease_expired_total", n);
    outbox_logf(s->host, OUTBOX_LOG_WARNING,
                "%" PRId64 " messages were held by a relay that did not end cleanly; they are free "
                "again and may arrive twice",
                n);
}

static int new_lease(struct store *s, const struct outbox_claim *claim, int64_t *ret,
                     struct outbox_err *err)
{
    sqlite3_stmt *insert =
        db_statement(s, SLOT_LEASE_NEW,
                     "INSERT INTO \"{t}_leases\" (lease, until, relay) VALUES (?1, ?2, ?3)", err);
    if (!insert)
        return s->failure;
    sqlite3_randomness(sizeof *ret, ret);
    *ret = (int64_t)((uint64_t)*ret >> 1) | 1;
    sqlite3_bind_int64(insert, 1, *ret);
    sqlite3_bind_int64(insert, 2, db_now_plus(s, claim->lease_ms));
    db_bind(insert, 3, claim->relay);
    return db_run(s, insert, err);
}

/* Another program's relay marked rows and knows no leases: they expire like any from now on. And
 * people write times as text: they become numbers, which is what the index can order. */
static int adopt(struct store *s, const struct outbox_claim *claim, struct outbox_err *err)
{
    int64_t token;
    int r = db_run(s,
                   db_statement(s, SLOT_ADOPT_TIMES,
                                "UPDATE \"{t}\" SET available_at ="
                                " nullif(outbox_moment(available_at), 0) WHERE seq IN (SELECT seq"
                                " FROM " DELAYED " AND available_at >= '')",
                                err),
                   err);
    if (r == 0)
        r = new_lease(s, claim, &token, err);
    if (r < 0)
        return r;
    sqlite3_stmt *rows =
        db_statement(s, SLOT_ADOPT_ROWS,
                     "UPDATE \"{t}\" SET lease = ?1 WHERE seq IN (SELECT seq FROM " STRAY ")", err);
    if (rows)
        sqlite3_bind_int64(rows, 1, token);
    return db_run(s, rows, err);
}

/* ---- the batch ---- */

struct gathering {
    const struct outbox_claim *claim;
    struct outbox_message **messages;
    uint32_t n;
    uint64_t bytes;
    bool full; /* the next row did not fit */
};

/* Adds the rows of a statement, up to `limit` in all. */
static int gather(struct store *s, sqlite3_stmt *q, struct gathering *g, uint32_t limit,
                  struct outbox_err *err)
{
    int code = SQLITE_ROW;
    while (g->n < limit && !g->full && (code = sqlite3_step(q)) == SQLITE_ROW) {
        uint64_t n = db_column(q, ROW_PAYLOAD).n;
        g->full = n > g->claim->max_bytes - g->bytes;
        if (g->full && g->n > 0)
            break;
        struct outbox_message *m = row_message(q, &s->claim_arena, g->claim->max_message);
        if (!m) {
            sqlite3_reset(q);
            return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
        }
        g->bytes += n; /* one larger message travels alone */
        g->messages[g->n++] = m;
    }
    int r = code == SQLITE_ROW || code == SQLITE_DONE ? OUTBOX_OK : db_fail(s, err);
    if (s->db)
        sqlite3_reset(q);
    return r;
}

static int gather_fresh(struct store *s, struct gathering *g, struct outbox_err *err)
{
    sqlite3_stmt *q =
        db_statement(s, SLOT_FRESH, "SELECT " ROW_COLUMNS " FROM " READY " ORDER BY seq", err);
    if (!q)
        return s->failure;
    sqlite3_bind_int64(q, 1, (int64_t)g->claim->max_message);
    return gather(s, q, g, g->claim->limit, err);
}

static int gather_delayed(struct store *s, struct gathering *g, uint32_t limit, uint32_t skip,
                          struct outbox_err *err)
{
    sqlite3_stmt *q = db_statement(s, SLOT_DELAYED,
                                   "SELECT " ROW_COLUMNS " FROM " DELAYED
                                   " AND available_at <= ?2 ORDER BY available_at LIMIT -1"
                                   " OFFSET ?3",
                                   err);
    if (!q)
        return s->failure;
    sqlite3_bind_int64(q, 1, (int64_t)g->claim->max_message);
    sqlite3_bind_int64(q, 2, db_now(s));
    sqlite3_bind_int64(q, 3, skip);
    return gather(s, q, g, limit, err);
}

/* Retries get half of a batch at most, unless fresh messages leave room: neither starves. */
static int gather_all(struct store *s, struct gathering *g, bool delayed, uint32_t *ret_delayed,
                      struct outbox_err *err)
{
    uint32_t half = (g->claim->limit + 1) / 2;
    int r = delayed ? gather_delayed(s, g, half, 0, err) : OUTBOX_OK;
    *ret_delayed = g->n;
    if (r == 0)
        r = gather_fresh(s, g, err);
    if (r == 0 && *ret_delayed == half && g->n < g->claim->limit && !g->full)
        r = gather_delayed(s, g, g->claim->limit, half, err);
    return r;
}

static int take_one(struct store *s, const struct outbox_message *m, int64_t token,
                    struct outbox_err *err)
{
    sqlite3_stmt *take =
        db_statement(s, SLOT_TAKE_ONE,
                     "UPDATE \"{t}\" SET status = 'processing', lease = ?1 WHERE seq = ?2", err);
    if (!take)
        return s->failure;
    sqlite3_bind_int64(take, 1, token);
    sqlite3_bind_int64(take, 2, m->seq);
    return db_run(s, take, err);
}

/* The fresh ones were the first in order, and the write lock is ours: they are a range. */
static int take_range(struct store *s, const struct outbox_message *first,
                      const struct outbox_message *last, int64_t token, struct outbox_err *err)
{
    sqlite3_stmt *take = db_statement(s, SLOT_TAKE_FRESH,
                                      "UPDATE \"{t}\" INDEXED BY \"{t}_ready\" SET status ="
                                      " 'processing', lease = ?1 WHERE seq BETWEEN ?2 AND ?3 AND"
                                      " status = 'pending' AND available_at IS NULL AND lane IS"
                                      " NULL",
                                      err);
    if (!take)
        return s->failure;
    sqlite3_bind_int64(take, 1, token);
    sqlite3_bind_int64(take, 2, first->seq);
    sqlite3_bind_int64(take, 3, last->seq);
    return db_run(s, take, err);
}

static int take_all(struct store *s, const struct gathering *g, uint32_t n_delayed, int64_t token,
                    struct outbox_err *err)
{
    int r = OUTBOX_OK;
    if (n_delayed == 0 && g->n > 0)
        return take_range(s, g->messages[0], g->messages[g->n - 1], token, err);
    for (uint32_t i = 0; r == 0 && i < g->n; i++)
        r = take_one(s, g->messages[i], token, err);
    return r;
}

static int compare_seq(const void *a, const void *b)
{
    const struct outbox_message *x = *(struct outbox_message *const *)a;
    const struct outbox_message *y = *(struct outbox_message *const *)b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static int take_batch(struct store *s, struct gathering *g, struct claimed *c,
                      const struct found *found, struct outbox_err *err)
{
    bool expired = is_past(found->until_us, found);
    bool delayed = is_past(found->delayed_us, found) || expired || found->strays;
    uint32_t n_delayed = 0;
    int64_t n_expired = 0;
    int r = db_begin(s, err);
    if (r < 0)
        return r;
    if (expired)
        r = expire(s, &n_expired, err);
    if (r == 0 && found->strays)
        r = adopt(s, g->claim, err);
    if (r == 0)
        r = gather_all(s, g, delayed, &n_delayed, err);
    if (r == 0 && g->n > 0)
        r = new_lease(s, g->claim, &c->token, err);
    if (r == 0)
        r = take_all(s, g, n_delayed, c->token, err);
    r = r < 0 ? db_rollback(s, r) : db_commit(s, err);
    if (r == 0)
        tell_expired(s, n_expired);
    return r;
}

/* A delay ends, or a lease that its relay may not renew any more. */
static int64_t next_due_ms(const struct found *found)
{
    int64_t us = found->delayed_us < found->until_us ? found->delayed_us : found->until_us;
    if (us == INT64_MAX)
        return -1;
    return us <= found->now_us ? 0 : (us - found->now_us + 999) / 1000;
}

int claim(void *instance, const struct outbox_claim *claim, const struct outbox_call *call,
          struct outbox_batch **ret, struct outbox_err *err)
{
    struct store *s = instance;
    struct found found = {0};
    if (s->held)
        return outbox_fail(err, OUTBOX_E_CONFIG, "a batch is held already");
    if (claim->lane.p)
        return outbox_fail(err, OUTBOX_E_NOTSUP, "store-sqlite has no lanes yet");
    int r = db_enter(s, call, err);
    if (r < 0)
        return r;
    arena_reset(&s->claim_arena);
    struct claimed *c = arena_array(&s->claim_arena, 1, sizeof *c);
    struct gathering g = {.claim = claim};
    g.messages = arena_array(&s->claim_arena, claim->limit, sizeof *g.messages);
    /* Before any row is taken: without it they would wait for their lease to end. */
    if (!c || !g.messages ||
        !(c->settled = arena_array(&s->claim_arena, (size_t)claim->limit + 1, 1)))
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");

    int64_t now = s->host->monotonic_us(s->host);
    bool strays = now >= s->adopt_us;
    r = look(s, strays, &found, err);
    if (r < 0)
        return r;
    if (strays)
        s->adopt_us = now + ADOPT_MS * 1000;
    if (found.ready || found.strays || is_past(found.until_us, &found) ||
        is_past(found.delayed_us, &found))
        r = take_batch(s, &g, c, &found, err);
    if (r < 0)
        return r;
    if (g.n > 1)
        qsort(g.messages, g.n, sizeof *g.messages, compare_seq);
    c->left = g.n;
    c->batch = (struct outbox_batch){.size = sizeof c->batch,
                                     .n = g.n,
                                     .messages = (const struct outbox_message *const *)g.messages,
                                     .next_due_ms = next_due_ms(&found),
                                     .more = g.full || (g.n > 0 && g.n == claim->limit)};
    if (g.n > 0) {
        snprintf(c->lease, sizeof c->lease, "%" PRId64, c->token);
        c->batch.lease = outbox_cstr(c->lease);
    }
    s->held = c;
    *ret = &c->batch;
    return OUTBOX_OK;
}
