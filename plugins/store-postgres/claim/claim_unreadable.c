/* SPDX-License-Identifier: Apache-2.0 */
/*
 * claim_unreadable.c - a claim fails for a row that the server cannot read (its storage is damaged)
 * or not send (no UTF-8 can be made of a text), and the error does not name it.
 *
 * The claim is made again for half as many rows, until it succeeds, and then the rows are good, or
 * is for FEW. Those are read one by one; a bad one is claimed alone, without what is in it, so that
 * the host can make a dead letter of it. A claim takes a prefix of the rows, and others may take
 * some of them meanwhile: so it is halved like this, and not searched by common/bisect.h, which
 * wants ranges of items that stay the same. The next claims grow again, see next_limit in claim.c.
 */
#include "claim/claim_mode.h"

/* One that waited for a time, and a fresh one: half of a batch is for each. */
#define FEW 2
/* Tries in which no bad row was found. */
#define IDLE_MAX 20
#define AGAIN_MS 5

/* The first rows that a claim without a bound would take. $1: rows to avoid, $2: limit. */
#define FIRST(condition, order)                                                         \
    "SELECT m.seq FROM {t} m WHERE m.seq <> ALL ($1) AND " condition " ORDER BY " order \
    " LIMIT $2 FOR UPDATE SKIP LOCKED"

/* seqs[2 * FEW] */
static int find_first(struct store *s, int64_t *seqs, size_t *ret_n, struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    struct step steps[] = {{.sql = FIRST(READY, "m.seq"), .args = &args},
                           {.sql = FIRST(DUE, "m.available_at"), .args = &args}};
    size_t n = 0;
    pg_args_ints(&args, s->quarantine.seqs, row_quarantine_expire(s));
    pg_args_int(&args, FEW);
    int r = pipeline_run(&s->conn, steps, 2, err);
    for (size_t i = 0; r == 0 && i < 2; i++)
        for (int row = 0; row < PQntuples(steps[i].result); row++)
            seqs[n++] = pg_column_int(steps[i].result, row, 0);
    pipeline_clear(steps, 2);
    *ret_n = n;
    return r;
}

/* Reads all that a claim would. */
static int read_row(struct store *s, int64_t seq, uint64_t max_message, struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    PGresult *row;
    pg_args_int(&args, max_message < INT64_MAX ? (int64_t)max_message : INT64_MAX);
    pg_args_int(&args, seq);
    int r =
        pipeline_query(&s->conn, STMT_NONE,
                       "SELECT " ROW_ALL_COLUMNS " FROM {t} m WHERE m.seq = $2", &args, &row, err);
    PQclear(row);
    return r;
}

/* The row becomes the batch, unless another relay has it. A lease has to be written, for which the
 * server may have to read the row after all: then it goes to the quarantine. */
static int take_row(struct claim_batch *b, struct store *s, const struct outbox_claim *claim,
                    int64_t seq, const char *why, struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    struct outbox_err failure = {.size = sizeof failure};
    s->conn.sqlstate[0] = '\0'; /* what fails now need not be for the row */
    int r = claim_batch_begin(b, s, claim, &failure);
    if (r == OUTBOX_OK) {
        pg_args_int(&args, 0);
        pg_args_ints(&args, &seq, 1);
        s->mode->add_args(b, &args);
        r = claim_batch_run(b, (struct step){.sql = s->mode->these, .args = &args}, false,
                            &failure);
        if (r == OUTBOX_OK && b->build.n > 0 &&
            row_mark_unreadable(&s->claim.arena, why, b->build.messages[0]) < 0)
            r = outbox_fail(&failure, OUTBOX_E_RETRY, "out of memory");
        r = claim_batch_end(b, r);
    }
    b->build.full = true; /* there may be more */
    if (r < 0 && failure_is_unreadable_row(&s->conn) && row_quarantine_add(s, seq, failure.text))
        return OUTBOX_OK;
    return r < 0 ? outbox_fail(err, r, "%s", failure.text) : OUTBOX_OK;
}

/* Makes a batch of the first bad row; of none if another relay has it, or it is quarantined now. */
static int take_bad_row(struct claim_batch *b, struct store *s, const struct outbox_claim *claim,
                        bool *ret_found, struct outbox_err *err)
{
    int64_t seqs[2 * FEW];
    struct outbox_err why = {.size = sizeof why};
    size_t n, i = 0;
    b->build.n = 0;
    *ret_found = false;
    int r = find_first(s, seqs, &n, err);
    if (r < 0)
        return r;
    while (i < n && (r = read_row(s, seqs[i], claim->max_message, &why)) == OUTBOX_OK)
        i++;
    *ret_found = i < n && failure_is_unreadable_row(&s->conn);
    if (*ret_found)
        return take_row(b, s, claim, seqs[i], why.text, err);
    if (r < 0)
        return outbox_fail(err, r, "%s", why.text);
    deadline_sleep(&s->conn.deadline, AGAIN_MS); /* another relay has it, or is just trying it */
    return OUTBOX_OK;
}

int claim_unreadable(struct claim_batch *b, struct store *s, struct outbox_claim *claim, int r,
                     struct outbox_err *err)
{
    const struct deadline *d = &s->conn.deadline;
    int idle = 0;
    while (r < 0 && failure_is_unreadable_row(&s->conn) && idle < IDLE_MAX &&
           deadline_left_ms(d) >= d->timeout_ms / 8) {
        s->claim.bound = INT64_MIN; /* as find_first */
        if (claim->limit > FEW) {
            claim->limit = claim->limit / 2 > FEW ? claim->limit / 2 : FEW;
        } else {
            bool found;
            r = take_bad_row(b, s, claim, &found, err);
            if (r < 0 || b->build.n > 0)
                return r;
            idle = found ? 0 : idle + 1;
        }
        r = claim_batch_take(b, s, claim, err);
    }
    return r;
}
