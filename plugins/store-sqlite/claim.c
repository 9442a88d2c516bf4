/* SPDX-License-Identifier: Apache-2.0 */
/*
 * claim.c - rows become ours for a time. The backlog is read without a lock, so that an idle relay
 * never writes; only if there is one, a transaction takes rows of it.
 */
#include "db.h"
#include "lease.h"
#include "row.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* How often orphaned rows, and times that are text, are searched for. */
#define ORPHANS_MS 5000

/* The indexes are named: statistics taken at a bad moment, or an index that was added, must not
 * make a claim read every row that is kept. */
#define READY                                                                       \
    "\"{t}\" INDEXED BY \"{t}_ready\" WHERE status = 'pending' AND available_at IS" \
    " NULL AND lane IS NULL"
#define DELAYED                                                                       \
    "\"{t}\" INDEXED BY \"{t}_delayed\" WHERE status = 'pending' AND available_at IS" \
    " NOT NULL AND lane IS NULL"

/* ---- the backlog ---- */

struct backlog {
    bool ready;
    bool orphans;       /* or times that are text, see make_numbers */
    int64_t delayed_us; /* the first delayed row's time, which may be 0; INT64_MAX: none */
    int64_t lease_us;   /* the end of the lease that ends first; INT64_MAX: none */
    int64_t now_us;
};

static int64_t time_or_never(sqlite3_stmt *q, int column)
{
    return sqlite3_column_type(q, column) == SQLITE_NULL ? INT64_MAX
                                                         : sqlite3_column_int64(q, column);
}

static int read_backlog(struct store *s, bool orphans, struct backlog *ret, struct outbox_err *err)
{
    sqlite3_stmt *q;
    int r = db_query(s, STMT_BACKLOG,
                     "SELECT EXISTS (SELECT 1 FROM " READY "),"
                     " (SELECT min(until) FROM \"{t}_leases\"),"
                     " (SELECT min(available_at) FROM " DELAYED " AND available_at < ''),"
                     " CASE WHEN ?1 THEN EXISTS (SELECT 1 FROM " LEASE_ORPHANS ")"
                     "  OR EXISTS (SELECT 1 FROM " DELAYED " AND available_at >= '') END",
                     DB_ARGS(DB_INT(orphans)), &q, err);
    if (r == 0)
        r = db_step(s, q, err);
    if (r < 0)
        return r;
    *ret = (struct backlog){.ready = sqlite3_column_int(q, 0),
                            .lease_us = time_or_never(q, 1),
                            .delayed_us = time_or_never(q, 2),
                            .orphans = sqlite3_column_int(q, 3),
                            .now_us = db_now(s)};
    sqlite3_reset(q);
    return OUTBOX_OK;
}

static bool has_work(const struct backlog *backlog)
{
    return backlog->ready || backlog->orphans || backlog->lease_us <= backlog->now_us ||
           backlog->delayed_us <= backlog->now_us;
}

/* When a delay ends, or a lease that its relay may not renew any more. */
static int64_t next_due_ms(const struct backlog *backlog)
{
    int64_t us = backlog->delayed_us < backlog->lease_us ? backlog->delayed_us : backlog->lease_us;
    if (us == INT64_MAX)
        return -1;
    return us <= backlog->now_us ? 0 : (us - backlog->now_us + 999) / 1000;
}

/* People write times as text; they become numbers, which is what the index can order. */
static int make_numbers(struct store *s, struct outbox_err *err)
{
    return db_exec(s,
                   "UPDATE \"{t}\" SET available_at = nullif(outbox_timestamp(available_at), 0)"
                   " WHERE seq IN (SELECT seq FROM " DELAYED " AND available_at >= '')",
                   err);
}

/* ---- the batch ---- */

struct builder {
    const struct outbox_claim *claim;
    struct message_limits limits;
    struct outbox_message **messages;
    uint32_t n;
    uint32_t n_delayed; /* of them, the first ones */
    uint64_t bytes;
    bool full; /* the next row did not fit */
};

/* Adds the rows of a statement, until there are `limit` in all or the batch is full. */
static int add_rows(struct store *s, sqlite3_stmt *q, uint32_t limit, struct builder *b,
                    struct outbox_err *err)
{
    int r = OUTBOX_OK;
    while (b->n < limit && !b->full && (r = db_step(s, q, err)) > 0) {
        uint64_t n = row_bytes(q, &b->limits);
        b->full = n > b->claim->max_bytes - b->bytes;
        if (b->full && b->n > 0)
            break;
        r = row_message(q, &b->limits, &s->claim.arena, &b->messages[b->n]);
        if (r < 0) {
            sqlite3_reset(q);
            return outbox_fail(err, r, "out of memory");
        }
        n += b->messages[b->n]->n_headers * sizeof(struct outbox_header);
        b->bytes += n < b->claim->max_bytes - b->bytes ? n : b->claim->max_bytes - b->bytes;
        b->n++; /* one larger message travels alone */
    }
    if (r < 0)
        return r;
    sqlite3_reset(q);
    return OUTBOX_OK;
}

static int add_ready(struct store *s, struct builder *b, struct outbox_err *err)
{
    sqlite3_stmt *q;
    int r =
        db_query(s, STMT_READY, "SELECT " ROW_COLUMNS("?1", "?2") " FROM " READY " ORDER BY seq",
                 DB_ARGS(DB_INT((int64_t)b->limits.max_message),
                         DB_INT((int64_t)b->limits.max_header_bytes)),
                 &q, err);
    return r < 0 ? r : add_rows(s, q, b->claim->limit, b, err);
}

static int add_delayed(struct store *s, uint32_t limit, uint32_t skip, struct builder *b,
                       struct outbox_err *err)
{
    sqlite3_stmt *q;
    int r = db_query(
        s, STMT_DELAYED,
        "SELECT " ROW_COLUMNS(
            "?1", "?2") " FROM " DELAYED
                        " AND available_at <= ?3 ORDER BY available_at LIMIT -1 OFFSET ?4",
        DB_ARGS(DB_INT((int64_t)b->limits.max_message), DB_INT((int64_t)b->limits.max_header_bytes),
                DB_INT(db_now(s)), DB_INT(skip)),
        &q, err);
    return r < 0 ? r : add_rows(s, q, limit, b, err);
}

/* Retries get half of a batch at most, unless ready messages leave room: neither starves. */
static int build(struct store *s, bool delayed, struct builder *b, struct outbox_err *err)
{
    uint32_t half = (b->claim->limit + 1) / 2;
    int r = delayed ? add_delayed(s, half, 0, b, err) : OUTBOX_OK;
    b->n_delayed = b->n;
    if (r == 0)
        r = add_ready(s, b, err);
    if (r == 0 && b->n_delayed == half && b->n < b->claim->limit && !b->full)
        r = add_delayed(s, b->claim->limit, half, b, err);
    return r;
}

/* ---- taking it ---- */

/* Without delayed ones the rows are the first that are ready, and the write lock is ours: one
 * statement takes the range of them. */
static int take(struct store *s, const struct builder *b, int64_t lease, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    if (b->n_delayed == 0)
        return db_run(
            s, STMT_TAKE_RANGE,
            "UPDATE \"{t}\" INDEXED BY \"{t}_ready\" SET status = 'processing', lease ="
            " ?1 WHERE seq BETWEEN ?2 AND ?3 AND status = 'pending' AND available_at IS"
            " NULL AND lane IS NULL",
            DB_ARGS(DB_INT(lease), DB_INT(b->messages[0]->seq), DB_INT(b->messages[b->n - 1]->seq)),
            err);
    for (uint32_t i = 0; r == 0 && i < b->n; i++)
        r = db_run(s, STMT_TAKE_ONE,
                   "UPDATE \"{t}\" SET status = 'processing', lease = ?1 WHERE seq = ?2",
                   DB_ARGS(DB_INT(lease), DB_INT(b->messages[i]->seq)), err);
    return r;
}

static void log_expired(struct store *s, int64_t n)
{
    if (n == 0)
        return;
    s->host->count(s->host, "lease_expired_total", n);
    outbox_logf(s->host, OUTBOX_LOG_WARNING,
                "%" PRId64 " messages were held by a relay that did not end cleanly; they are free "
                "again and may arrive twice",
                n);
}

/*
 * Frees what leases that are over hold, then reads the batch and marks it, all under the write
 * lock. The backlog was read without it: another relay may have been faster, and the batch may be
 * empty. What is freed here may have been delayed before, so that delayed rows are read then too.
 */
static int take_batch(struct store *s, const struct backlog *backlog, struct builder *b,
                      int64_t *ret_lease, struct outbox_err *err)
{
    bool expired = backlog->lease_us <= backlog->now_us;
    bool delayed = backlog->delayed_us <= backlog->now_us || expired || backlog->orphans;
    int64_t n_expired = 0;
    int r = db_begin(s, err);
    if (r == 0 && expired)
        r = lease_expire(s, &n_expired, err);
    if (r == 0 && backlog->orphans)
        r = make_numbers(s, err);
    if (r == 0 && backlog->orphans)
        r = lease_adopt_orphans(s, b->claim, err);
    if (r == 0)
        r = build(s, delayed, b, err);
    if (r == 0 && b->n > 0)
        r = lease_new(s, b->claim, ret_lease, err);
    if (r == 0 && b->n > 0)
        r = take(s, b, *ret_lease, err);
    r = db_end(s, r, err);
    if (r == 0)
        log_expired(s, n_expired);
    return r;
}

static int compare_seq(const void *a, const void *b)
{
    const struct outbox_message *x = *(struct outbox_message *const *)a;
    const struct outbox_message *y = *(struct outbox_message *const *)b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static void fill(struct claimed *c, const struct builder *b, const struct backlog *backlog)
{
    qsort(b->messages, b->n, sizeof *b->messages, compare_seq);
    c->n_unsettled = b->n;
    c->batch = (struct outbox_batch){.size = sizeof c->batch,
                                     .n = b->n,
                                     .messages = (const struct outbox_message *const *)b->messages,
                                     .next_due_ms = next_due_ms(backlog),
                                     .more = b->full || (b->n > 0 && b->n == b->claim->limit)};
    if (b->n > 0) {
        snprintf(c->lease_text, sizeof c->lease_text, "%" PRId64, c->lease);
        c->batch.lease = outbox_cstr(c->lease_text);
    }
}

int claim(void *instance, const struct outbox_claim *claim, const struct outbox_call *call,
          struct outbox_batch **ret, struct outbox_err *err)
{
    struct store *s = instance;
    struct backlog backlog;
    if (s->claim.batch)
        return outbox_fail(err, OUTBOX_E_CONFIG, "claim: the instance holds a batch already");
    if (claim->lane.p)
        return outbox_fail(err, OUTBOX_E_NOTSUP, "store-sqlite has no lanes yet");
    int r = connect_enter(s, call, err);
    if (r < 0)
        return r;
    arena_reset(&s->claim.arena);
    struct claimed *c = arena_array(&s->claim.arena, 1, sizeof *c);
    struct builder b = {.claim = claim, .limits = message_limits_of(claim)};
    b.messages = arena_array(&s->claim.arena, claim->limit, sizeof *b.messages);
    /* Before any row is taken: without it they would wait for their lease to end. */
    if (!c || !b.messages || !(c->settled = arena_array(&s->claim.arena, claim->limit, 1)))
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");

    int64_t now = s->host->monotonic_us(s->host);
    bool orphans = now >= s->claim.next_orphans_us;
    r = read_backlog(s, orphans, &backlog, err);
    if (r == 0 && orphans)
        s->claim.next_orphans_us = now + ORPHANS_MS * 1000;
    if (r == 0 && has_work(&backlog))
        r = take_batch(s, &backlog, &b, &c->lease, err);
    if (r < 0)
        return r;
    fill(c, &b, &backlog);
    s->claim.batch = c;
    *ret = &c->batch;
    return OUTBOX_OK;
}
