/* SPDX-License-Identifier: Apache-2.0 */
/*
 * claim_batch.c - rows that another relay holds are passed over.
 *
 * A busy claim is one round trip and begins behind the last row that it saw: dead rows before it
 * need not be walked over. That is a hint only, since late commits, retries and rows that others
 * gave back lie below it. So a claim that gets less than its limit goes on there, and so does every
 * claim once a second, which also reads the backlog.
 */
#include "claim/claim_mode.h"

void claim_batch_free(struct store *s)
{
    for (size_t i = 0; i < s->claim.n_rows; i++)
        PQclear(s->claim.rows[i]);
    s->claim.n_rows = 0;
    arena_reset(&s->claim.arena);
}

int claim_batch_begin(struct claim_batch *b, struct store *s, const struct outbox_claim *claim,
                      struct outbox_err *err)
{
    claim_batch_free(s);
    *b = (struct claim_batch){
        .s = s, .c = arena_array(&s->claim.arena, 1, sizeof *b->c), .bound = INT64_MIN};
    if (b->c)
        b->c->states = arena_array(&s->claim.arena, claim->limit, 1);
    if (!b->c || !b->c->states || batch_build_begin(&b->build, s, claim) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    return conn_token(&b->c->token, err);
}

int claim_batch_run(struct claim_batch *b, struct step main, bool with_backlog,
                    struct outbox_err *err)
{
    struct store *s = b->s;
    struct pg_args args = {.arena = &s->conn.scratch};
    bool keeps = s->mode->kind == CLAIM_LOCKS; /* a transaction */
    struct step steps[4];
    size_t n = 0;
    if (keeps && !b->begun)
        steps[n++] = STEP_BEGIN;
    struct step *claims = &steps[n++];
    *claims = main;
    if (keeps) /* for relock.c */
        steps[n++] = (struct step){.stmt = STMT_XID,
                                   .sql = "SELECT pg_catalog.txid_current_if_assigned(),"
                                          " pg_catalog.pg_backend_pid()"};
    if (with_backlog)
        steps[n++] = backlog_step(s, b->c->token, &args);
    int r = pipeline_run(&s->conn, steps, n, err);
    if (r < 0)
        return r;
    PGresult *rows = claims->result;
    claims->result = NULL;
    b->begun |= keeps || PQntuples(rows) > 0;
    if (keeps) {
        b->c->xid = pg_column_int(claims[1].result, 0, 0);
        b->c->pid = pg_column_int(claims[1].result, 0, 1);
    } else if (PQntuples(rows) > 0) {
        b->skipped |= pg_column_int(rows, 0, ROW_N_COLUMNS) > PQntuples(rows);
    }
    if (with_backlog && backlog_read(s, steps[n - 1].result) && b->build.n == 0 &&
        PQntuples(rows) == 0)
        b->begun = b->skipped = true;
    b->backlog_seen |= with_backlog;
    pipeline_clear(steps, n);
    return batch_build_rows(&b->build, rows, err);
}

int claim_batch_end(struct claim_batch *b, int r)
{
    if (r < 0)
        b->build.n = 0;
    if (b->build.n == 0)
        b->s->mode->cancel(b);
    return r;
}

/* ---- which rows ---- */

/* Those that are set aside, and those that this claim has. */
static void add_avoided(struct claim_batch *b, struct pg_args *args)
{
    size_t n;
    const int64_t *aside =
        quarantine_active(&b->s->quarantine, deadline_now_us(&b->s->conn.deadline), &n);
    int64_t *but = arena_array(args->arena, n + b->build.n + 1, sizeof *but);
    args->failed |= !but;
    if (!but)
        return;
    memcpy(but, aside, n * sizeof *but);
    for (uint32_t i = 0; i < b->build.n; i++)
        but[n++] = b->build.messages[i]->seq;
    pg_args_ints(args, but, n);
}

static int take_due(struct claim_batch *b, uint32_t limit, struct outbox_err *err)
{
    struct store *s = b->s;
    struct pg_args args = {.arena = &s->conn.scratch};
    pg_args_int(&args, (int64_t)b->build.inline_max);
    add_avoided(b, &args);
    pg_args_int(&args, limit);
    s->mode->add_args(b, &args);
    struct step main = {.stmt = s->mode->due_stmt, .sql = s->mode->due, .args = &args};
    return claim_batch_run(b, main, false, err);
}

static int take_fresh(struct claim_batch *b, int64_t from, int64_t upto, bool with_backlog,
                      struct outbox_err *err)
{
    struct store *s = b->s;
    struct pg_args args = {.arena = &s->conn.scratch};
    struct step main = {.stmt = s->mode->fresh_stmt, .sql = s->mode->fresh, .args = &args};
    uint32_t before = b->build.n;
    pg_args_int(&args, (int64_t)b->build.inline_max);
    store_add_aside(s, &args);
    pg_args_int(&args, from);
    pg_args_int(&args, upto);
    pg_args_int(&args, b->build.claim->limit - b->build.n);
    s->mode->add_args(b, &args);
    int r = claim_batch_run(b, main, with_backlog, err);
    if (r == 0 && b->build.n > before)
        b->bound = b->build.messages[b->build.n - 1]->seq;
    return r;
}

static bool has_room(const struct claim_batch *b)
{
    return b->build.n < b->build.claim->limit && !b->build.full;
}

/*
 * Up to four statements, each only while there is room:
 *   1. rows that waited for a time, if some are due: half of the batch at most, so that neither
 *      retries nor fresh messages starve;
 *   2. fresh rows behind the bound;
 *   3. fresh rows below it, and the backlog, unless 2 was without a bound and had the backlog;
 *   4. more of the rows that waited, if 1 left some or 3 found that there are any.
 */
static int take_rows(struct claim_batch *b, struct outbox_err *err)
{
    struct backlog *backlog = &b->s->backlog;
    uint32_t limit = b->build.claim->limit, half = (limit + 1) / 2, n_due = 0;
    int64_t now = deadline_now_us(&b->s->conn.deadline);
    bool read = now >= backlog->next_read_us, due = backlog->due || now >= backlog->due_us;
    int64_t bound = b->bound = read ? INT64_MIN : b->s->claim.bound;
    int r = OUTBOX_OK;
    if (due) {
        r = take_due(b, half, err);
        n_due = b->build.n;
        backlog->due_us = INT64_MAX;
    }
    backlog->due &= n_due == half;
    if (r == 0 && has_room(b))
        r = take_fresh(b, bound > INT64_MIN && bound < INT64_MAX ? bound + 1 : bound, INT64_MAX,
                       read, err);
    if (r == 0 && has_room(b) && (bound > INT64_MIN || !b->backlog_seen))
        r = take_fresh(b, INT64_MIN, bound, !b->backlog_seen, err);
    if (r == 0 && has_room(b) && backlog->due && (!due || n_due == half))
        r = take_due(b, limit - b->build.n, err);
    return r;
}

int claim_batch_take(struct claim_batch *b, struct store *s, const struct outbox_claim *claim,
                     struct outbox_err *err)
{
    int r = backlog_free_abandoned(s, claim, err);
    if (r < 0)
        s->conn.sqlstate[0] = '\0'; /* not for a row that is claimed */
    else
        r = claim_batch_begin(b, s, claim, err);
    if (r < 0)
        return r;
    r = take_rows(b, err);
    if (r == 0 && b->build.n_excess > 0 && s->mode->release_excess)
        r = s->mode->release_excess(b, err);
    if (r == 0)
        r = batch_build_end(&b->build, err);
    return claim_batch_end(b, r);
}
