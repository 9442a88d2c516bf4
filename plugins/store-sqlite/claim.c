/* SPDX-License-Identifier: Apache-2.0 */
/*
 * claim.c - rows become ours for a time. The backlog is read without a lock, so that an idle relay
 * never writes; only if there is one, a transaction takes rows of it. It reads nothing but their
 * sizes, so that producers wait for a moment only; the rows themselves are read afterwards.
 */
#include "backlog.h"
#include "db.h"
#include "lease.h"
#include "refused.h"
#include "row.h"
#include "rows.h"
#include "settle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Where nothing could be had of what is due, it is not looked for at once. */
#define NOTHING_MS 100

/* ---- which rows ---- */

struct builder {
    const struct outbox_claim *claim;
    struct message_limits limits;
    struct rows rows;
    bool in_a_row; /* nothing but the first ones that are ready */
    uint64_t bytes;
    bool full;  /* the next row did not fit */
    bool found; /* there was one, whatever became of it */
};

/* What has the bytes of each column. length() of a blob reads its header only. */
#define SIZES                                                                                \
    "SELECT seq, CASE typeof(payload) WHEN 'blob' THEN length(payload) ELSE CAST(payload AS" \
    " TEXT) END, headers, topic, key, id FROM "

/* What would be loaded of the row: nothing of what is over a limit. */
static uint64_t row_bytes(sqlite3_stmt *q, const struct message_limits *limits)
{
    bool is_length = sqlite3_column_type(q, 1) == SQLITE_INTEGER;
    struct message_sizes sizes = {.payload = is_length ? (uint64_t)sqlite3_column_int64(q, 1)
                                                       : (uint64_t)sqlite3_column_bytes(q, 1),
                                  .headers = (uint64_t)sqlite3_column_bytes(q, 2),
                                  .topic = (uint64_t)sqlite3_column_bytes(q, 3),
                                  .key = (uint64_t)sqlite3_column_bytes(q, 4),
                                  .id = (uint64_t)sqlite3_column_bytes(q, 5)};
    return message_sizes_over(&sizes, limits) ? 0 : message_sizes_sum(&sizes);
}

/* Adds the rows of a statement, until there are `limit` in all or the batch is full: one row that
 * is larger than a batch travels alone. */
static int add_rows(struct store *s, sqlite3_stmt *q, uint32_t limit, struct builder *b,
                    struct outbox_err *err)
{
    int r = OUTBOX_OK;
    while (b->rows.n < limit && !b->full && (r = db_step(s, q, err)) > 0) {
        uint64_t n = row_bytes(q, &b->limits);
        b->full = n > b->claim->max_bytes - b->bytes;
        if (b->full && b->rows.n > 0)
            break;
        b->rows.seqs[b->rows.n++] = sqlite3_column_int64(q, 0);
        b->bytes += n;
    }
    if (r < 0)
        return r;
    sqlite3_reset(q);
    return OUTBOX_OK;
}

static int add(struct store *s, enum stmt stmt, const char *sql, uint32_t limit, uint32_t skip,
               struct builder *b, struct outbox_err *err)
{
    sqlite3_stmt *q;
    int r = db_query(s, stmt, sql, DB_ARGS(DB_INT(db_now(s)), DB_INT(skip)), &q, err);
    return r < 0 ? r : add_rows(s, q, limit, b, err);
}

static int add_delayed(struct store *s, uint32_t limit, uint32_t skip, struct builder *b,
                       struct outbox_err *err)
{
    return add(s, STMT_DELAYED,
               SIZES DELAYED " AND available_at <= ?1 ORDER BY available_at LIMIT -1 OFFSET ?2",
               limit, skip, b, err);
}

/* Retries get half of a batch at most, unless ready messages leave room: neither starves. */
static int build(struct store *s, const struct backlog *backlog, bool delayed, struct builder *b,
                 struct outbox_err *err)
{
    uint32_t half = (b->claim->limit + 1) / 2;
    int r = backlog->orphans ? add(s, STMT_ONCE, SIZES TEXT_TIME, half, 0, b, err) : OUTBOX_OK;
    if (r == 0 && delayed)
        r = add_delayed(s, half, 0, b, err);
    size_t n_delayed = b->rows.n;
    b->in_a_row = n_delayed == 0;
    if (r == 0)
        r = add(s, STMT_READY, SIZES READY " ORDER BY seq", b->claim->limit, 0, b, err);
    if (r == 0 && n_delayed == half && b->rows.n < b->claim->limit && !b->full)
        r = add_delayed(s, b->claim->limit, half, b, err);
    return r;
}

/* ---- taking them ---- */

#define TAKE "status = 'processing', lease = ?2"

/* The write lock is ours: one statement takes the range of the first rows that are ready. */
static int take_range(struct store *s, const struct builder *b, int64_t lease,
                      struct outbox_err *err)
{
    int r = db_run(
        s, STMT_TAKE_RANGE,
        "UPDATE \"{t}\" INDEXED BY \"{t}_ready\" SET " TAKE " WHERE seq BETWEEN ?1 AND ?3"
        " AND status = 'pending' AND available_at IS NULL AND lane IS NULL AND NOT"
        " outbox_passed_over(seq)",
        DB_ARGS(DB_INT(b->rows.seqs[0]), DB_INT(lease), DB_INT(b->rows.seqs[b->rows.n - 1])), err);
    return r == 0 && (uint64_t)sqlite3_changes64(s->db) != b->rows.n ? db_skipped(s, err) : r;
}

static int take(struct store *s, const struct builder *b, int64_t lease, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    if (b->in_a_row)
        return take_range(s, b, lease, err);
    for (size_t i = 0; r == 0 && i < b->rows.n; i++) {
        r = db_run(s, STMT_TAKE_ONE, "UPDATE \"{t}\" SET " TAKE " WHERE seq = ?1",
                   DB_ARGS(DB_INT(b->rows.seqs[i]), DB_INT(lease)), err);
        if (r == 0 && sqlite3_changes64(s->db) == 0)
            r = db_skipped(s, err);
    }
    return r;
}

/* The database refuses one of them: each by itself. Others may take them meanwhile. */
static int take_carefully(struct store *s, const struct builder *b, int64_t *ret_lease,
                          struct outbox_err *err)
{
    struct rows_change change = {ROWS_UPDATE(TAKE, "status = 'pending' AND lane IS NULL")};
    uint64_t n;
    int r = lease_new(s, b->claim, ret_lease, err);
    change.arg = *ret_lease;
    return r < 0 ? r : rows_apply(s, &b->rows, &change, &n, err);
}

/* Not even the sizes of one can be read: which one, looking at each tells. The next claim takes the
 * others. */
static int find_unreadable(struct store *s, struct builder *b, struct outbox_err *err)
{
    static const struct rows_change look = {.sql = SIZES "\"{t}\" WHERE seq = ?1",
                                            .still = "SELECT 0"};
    struct rows rows = {0};
    sqlite3_stmt *q;
    uint64_t n;
    b->rows.n = 0;
    int r = db_query(s, STMT_ONCE,
                     "SELECT * FROM (SELECT seq FROM " READY " ORDER BY seq LIMIT ?1) UNION ALL"
                     " SELECT * FROM (SELECT seq FROM " DELAYED
                     " AND available_at <= ?2 ORDER BY available_at LIMIT ?1) UNION ALL"
                     " SELECT * FROM (SELECT seq FROM " TEXT_TIME " LIMIT ?1)",
                     DB_ARGS(DB_INT(b->claim->limit), DB_INT(db_now(s))), &q, err);
    if (r == 0)
        r = rows_read(s, q, &rows, err);
    if (r == 0)
        r = rows_apply(s, &rows, &look, &n, err);
    rows_free(&rows);
    return r;
}

/*
 * The backlog was read without the write lock: another relay may have been faster, and the batch
 * may be empty. What was freed may have been delayed before, so that delayed rows are read then
 * too.
 */
static int take_batch(struct store *s, struct backlog *backlog, struct builder *b,
                      int64_t *ret_lease, struct outbox_err *err)
{
    bool delayed = backlog->delayed_us <= backlog->now_us || backlog->orphans ||
                   backlog->lease_us <= backlog->now_us;
    int r = backlog_prepare(s, b->claim, backlog, err);
    if (r == 0)
        r = db_begin(s, err);
    if (r < 0)
        return r;
    r = build(s, backlog, delayed, b, err);
    bool readable = r == 0;
    b->found = !readable || b->rows.n > 0;
    if (r == 0 && b->rows.n > 0)
        r = lease_new(s, b->claim, ret_lease, err);
    if (r == 0 && b->rows.n > 0)
        r = take(s, b, *ret_lease, err);
    r = db_end(s, r, err);
    if (r == 0 || !s->row_at_fault)
        return r;
    return readable ? take_carefully(s, b, ret_lease, err) : find_unreadable(s, b, err);
}

/* ---- reading them ---- */

static int defect(struct arena *arena, const char *text, struct outbox_message *m)
{
    return m->defect.p ? OUTBOX_OK : arena_str(arena, text, strlen(text), &m->defect);
}

static int read_row(struct store *s, sqlite3_stmt *q, const struct message_limits *limits,
                    struct outbox_message **ret)
{
    struct arena *arena = &s->claim.arena;
    char text[128];
    int type = sqlite3_column_type(q, ROW_N_COLUMNS);
    int r = row_message(q, limits, arena, ret);
    if (r == 0 && (*ret)->row_id.n == 0)
        r = defect(arena, "its id is empty", *ret);
    if (r == 0 && (type == SQLITE_TEXT || type == SQLITE_BLOB)) {
        struct outbox_str time = db_column(q, ROW_N_COLUMNS);
        snprintf(text, sizeof text, "available_at is no time: %.*s", time.n > 60 ? 60 : (int)time.n,
                 time.p);
        r = defect(arena, text, *ret);
    }
    return r;
}

/* The rows are ours by their lease, and come in the order of seq. */
static int read_batch(struct store *s, const struct builder *b, int64_t lease,
                      struct outbox_message **messages, uint32_t *ret_n, struct outbox_err *err)
{
    sqlite3_stmt *q;
    int r = db_query(s, STMT_READ,
                     "SELECT " ROW_COLUMNS(
                         "?1", "?3") ", available_at FROM \"{t}\" INDEXED BY \"{t}_held\""
                                     " WHERE status = 'processing' AND lease = ?2 ORDER BY seq",
                     DB_ARGS(DB_INT((int64_t)b->limits.max_message), DB_INT(lease),
                             DB_INT((int64_t)b->limits.max_header_bytes)),
                     &q, err);
    if (r < 0)
        return r;
    while (*ret_n < b->rows.n && (r = db_step(s, q, err)) > 0)
        if (read_row(s, q, &b->limits, &messages[(*ret_n)++]) < 0) {
            r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
            break;
        }
    if (s->db)
        sqlite3_reset(q);
    return r < 0 ? r : OUTBOX_OK;
}

/* ---- the operation ---- */

static void fill(struct store *s, struct claimed *c, const struct builder *b,
                 struct outbox_message **messages, const struct backlog *backlog)
{
    size_t n_quarantined;
    quarantine_active(&s->refused.quarantine, s->host->monotonic_us(s->host), &n_quarantined);
    c->n_unsettled = c->batch.n;
    c->batch.size = sizeof c->batch;
    c->batch.messages = (const struct outbox_message *const *)messages;
    c->batch.next_due_ms = backlog_next_due_ms(backlog);
    if (c->batch.n > 0)
        c->batch.more = b->full || b->rows.n == b->claim->limit;
    else if (b->found || c->batch.next_due_ms == 0)
        c->batch.next_due_ms = NOTHING_MS;
    c->batch.n_quarantined = (uint32_t)n_quarantined;
    if (n_quarantined > 0)
        c->batch.quarantine_reason = outbox_cstr(s->refused.quarantine.reason);
    if (c->batch.n > 0) {
        snprintf(c->lease_text, sizeof c->lease_text, "%" PRId64, c->lease);
        c->batch.lease = outbox_cstr(c->lease_text);
    }
}

/* Takes and reads a batch; what cannot be read is free again. */
static int claim_batch(struct store *s, struct backlog *backlog, struct builder *b,
                       struct claimed *c, struct outbox_message **messages, struct outbox_err *err)
{
    int r = take_batch(s, backlog, b, &c->lease, err);
    if (r == 0 && b->rows.n > 0)
        r = read_batch(s, b, c->lease, messages, &c->batch.n, err);
    if (c->lease && c->batch.n == 0) /* nothing was left of it */
        r = r < 0 ? r : lease_end_or_hold(s, c->lease, err);
    if (r < 0 && c->lease && s->db)
        lease_free(s, c->lease, NULL);
    return r;
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
    b.rows.seqs = arena_array(&s->claim.arena, claim->limit, sizeof *b.rows.seqs);
    struct outbox_message **messages = arena_array(&s->claim.arena, claim->limit, sizeof *messages);
    /* Before any row is taken: without it they would wait for their lease to end. */
    if (!c || !b.rows.seqs || !messages ||
        !(c->settled = arena_array(&s->claim.arena, claim->limit, 1)))
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");

    r = settle_refused_again(s, err);
    if (r == 0)
        r = backlog_read(s, &backlog, err);
    if (r == 0 && backlog_has_work(&backlog))
        r = claim_batch(s, &backlog, &b, c, messages, err);
    if (r < 0)
        return r;
    fill(s, c, &b, messages, &backlog);
    s->claim.batch = c;
    *ret = &c->batch;
    return OUTBOX_OK;
}
