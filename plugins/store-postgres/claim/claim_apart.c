/* SPDX-License-Identifier: Apache-2.0 */
/*
 * claim_apart.c - a claim fails for a row that the server cannot read (its storage is damaged) or
 * not send (no UTF-8 can be made of a text), or that the table refuses to change (leases: a check,
 * a trigger, a policy); or a trigger skips it, without an error.
 *
 * A claim that failed is made again for half as many rows, until it succeeds, and then the rows are
 * good, or is for FEW. Those are claimed one by one; one that cannot be read without what is in it,
 * so that the host can make a dead letter of it; one that cannot be claimed at all is set aside. A
 * claim takes a prefix of the rows, and others may take some of them meanwhile: so it is halved
 * like this, and not searched by common/bisect.h, which wants ranges of items that stay the same.
 * The next claims grow again, see next_limit in claim.c.
 */
#include "claim/claim_mode.h"

/* One that waited for a time, and a fresh one: half of a batch is for each. */
#define FEW 2
/* Tries in which no bad row was found. */
#define IDLE_MAX 20
#define AGAIN_MS 5
#define SKIPPED "a trigger or a policy of the table skips the row"

/* The first rows that a claim without a bound would take. $1: rows to avoid, $2: limit. */
#define FIRST(condition, order)                                                              \
    "SELECT m.seq FROM ONLY {t} m WHERE m.seq <> ALL ($1) AND " condition " ORDER BY " order \
    " LIMIT $2 FOR UPDATE SKIP LOCKED"

/* seqs[2 * FEW] */
static int find_first(struct store *s, int64_t *seqs, size_t *ret_n, struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    struct step steps[] = {{.sql = FIRST(READY, "m.seq"), .args = &args},
                           {.sql = FIRST(DUE, "m.available_at"), .args = &args}};
    size_t n = 0;
    store_add_aside(s, &args);
    pg_args_int(&args, FEW);
    int r = pipeline_run(&s->conn, steps, 2, err);
    for (size_t i = 0; r == 0 && i < 2; i++)
        for (int row = 0; row < PQntuples(steps[i].result); row++)
            seqs[n++] = pg_column_int(steps[i].result, row, 0);
    pipeline_clear(steps, 2);
    *ret_n = n;
    return r;
}

/* A claim of these rows; without any it does all else that a claim does. */
static int take_these(struct claim_batch *b, struct store *s, const struct outbox_claim *claim,
                      const char *sql, const int64_t *seqs, size_t n, struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    s->conn.sqlstate[0] = '\0'; /* what fails now need not be for the row */
    int r = claim_batch_begin(b, s, claim, err);
    if (r < 0)
        return r;
    pg_args_int(&args, (int64_t)b->build.inline_max);
    pg_args_ints(&args, seqs, n);
    s->mode->add_args(b, &args);
    r = claim_batch_run(b, (struct step){.sql = sql, .args = &args}, n == 0, err);
    if (r == OUTBOX_OK)
        r = batch_build_end(&b->build, err);
    return claim_batch_end(b, r);
}

static int is_claimable(struct store *s, int64_t seq, int64_t *ret, struct outbox_err *err)
{
    struct pg_args args = {.arena = &s->conn.scratch};
    pg_args_int(&args, 0);
    pg_args_ints(&args, &seq, 1);
    return pipeline_number(&s->conn, "SELECT 1 + $1 FROM ONLY {t} m WHERE " THESE_ROWS, &args, ret,
                           err);
}

/* The row becomes the batch, unless another relay has it, or it is set aside. */
static int take_row(struct claim_batch *b, struct store *s, const struct outbox_claim *claim,
                    int64_t seq, bool *ret_aside, struct outbox_err *err)
{
    struct outbox_err failure = {.size = sizeof failure};
    char why[sizeof s->conn.words] = SKIPPED;
    int64_t refused = 0;
    *ret_aside = false;
    int r = take_these(b, s, claim, s->mode->these, &seq, 1, &failure);
    if (r < 0 && failure_may_be_a_row(&s->conn)) {
        memcpy(why, s->conn.words, sizeof why);
        r = take_these(b, s, claim, s->mode->these_bare, &seq, 1, &failure);
        if (r == OUTBOX_OK && b->build.n > 0 &&
            row_mark_unreadable(&s->claim.arena, why, b->build.messages[0]) < 0)
            r = outbox_fail(&failure, OUTBOX_E_RETRY, "out of memory");
        refused = r < 0 && failure_may_be_a_row(&s->conn);
    } else if (r == OUTBOX_OK && b->build.n == 0 && s->mode->kind == CLAIM_LEASES) {
        r = is_claimable(s, seq, &refused, &failure);
    }
    b->build.full = true; /* there may be more */
    if (r < 0 && !refused)
        return outbox_fail(err, r, "%s", failure.text);
    *ret_aside = refused != 0;
    if (refused && !store_set_aside(s, seq, why))
        return outbox_fail(err, OUTBOX_E_RETRY, "the table refuses more than %d rows: %s",
                           QUARANTINE_MAX, why);
    return OUTBOX_OK;
}

/* Makes a batch of one of the first rows; of none if others have them, or they are set aside now.
 */
static int take_first(struct claim_batch *b, struct store *s, const struct outbox_claim *claim,
                      bool *ret_any_aside, struct outbox_err *err)
{
    int64_t seqs[2 * FEW];
    size_t n;
    bool aside;
    *ret_any_aside = false;
    int r = find_first(s, seqs, &n, err);
    for (size_t i = 0; r == OUTBOX_OK && b->build.n == 0 && i < n; i++) {
        r = take_row(b, s, claim, seqs[i], &aside, err);
        *ret_any_aside |= aside;
    }
    return r;
}

/* Is a row at fault, and not the store? */
static bool is_for_a_row(struct claim_batch *b, struct store *s, const struct outbox_claim *claim)
{
    char sqlstate[sizeof s->conn.sqlstate];
    if (!failure_may_be_a_row(&s->conn))
        return false;
    memcpy(sqlstate, s->conn.sqlstate, sizeof sqlstate);
    bool is = take_these(b, s, claim, s->mode->these, NULL, 0, NULL) == OUTBOX_OK;
    memcpy(s->conn.sqlstate, sqlstate, sizeof sqlstate);
    return is;
}

int claim_apart(struct claim_batch *b, struct store *s, struct outbox_claim *claim, int r,
                struct outbox_err *err)
{
    const struct deadline *d = &s->conn.deadline;
    int idle = 0;
    if (r < 0 && !is_for_a_row(b, s, claim))
        return r;
    while (idle < IDLE_MAX && deadline_left_ms(d) >= d->timeout_ms / 8) {
        bool fails = r < 0, any_aside;
        s->claim.bound = INT64_MIN; /* as find_first */
        if (fails && claim->limit > FEW) {
            claim->limit = claim->limit / 2 > FEW ? claim->limit / 2 : FEW;
        } else {
            b->build.n = 0;
            r = take_first(b, s, claim, &any_aside, err);
            if (r < 0 || b->build.n > 0 || (!fails && !any_aside))
                return r;
            idle = any_aside ? 0 : idle + 1;
            if (!any_aside) /* another relay has it, or is just trying it */
                deadline_sleep(d, AGAIN_MS);
        }
        r = claim_batch_take(b, s, claim, err);
        if (r == OUTBOX_OK ? b->build.n > 0 || !b->skipped : !failure_may_be_a_row(&s->conn))
            return r;
    }
    return r;
}
