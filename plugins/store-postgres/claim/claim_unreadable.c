/* SPDX-License-Identifier: Apache-2.0 */
/*
 * claim_unreadable.c - a claim that fails for rows that cannot be read. They are looked for, and
 * claimed by themselves without what is in them, so that the host can make dead letters of them.
 */
#include "claim/backlog.h"
#include "claim/claiming.h"
#include "claim/unreadable_search.h"

/* Rows that one claim makes out. */
#define FOUND_MAX 64
#define ROUNDS_MAX 20
#define AGAIN_MS 5

#define THESE                                                             \
    "m.status = 'pending' AND m.lane IS NULL AND (m.available_at IS NULL" \
    " OR m.available_at <= statement_timestamp()) AND m.seq = ANY ($2) FOR UPDATE SKIP LOCKED"
static const char these_lock[] = "SELECT " UNREADABLE_COLUMNS " FROM {t} m WHERE " THESE;
static const char these_lease[] = LEASED(UNREADABLE_COLUMNS, THESE, "$3", "$4", "$5", "$6");

/* What a claim from the beginning may take, and nobody holds. $1: avoided rows, $2: limit, $3:
 * those up to this one were good when they were looked at last, $4: max_message. */
#define CANDIDATE                                                                          \
    "SELECT m.seq, CASE WHEN pg_catalog.octet_length(m.payload) <= $4"                     \
    " THEN pg_catalog.octet_length(m.payload) ELSE 0 END::int8"                            \
    " + COALESCE(pg_catalog.pg_column_size(m.headers), 0)::int8 FROM {t} m WHERE m.seq <>" \
    " ALL ($1) AND "
#define LIMIT_TO " LIMIT $2 FOR UPDATE SKIP LOCKED"
static const char fresh_candidates[] = CANDIDATE READY " AND m.seq > $3 ORDER BY m.seq" LIMIT_TO;
static const char due_candidates[] = CANDIDATE DELAYED
    " AND m.available_at <= statement_timestamp() AND $3 = $3 ORDER BY m.available_at" LIMIT_TO;

static int candidates(struct store *s, const struct outbox_claim *claim, struct candidate **ret,
                      size_t *ret_n, size_t *ret_n_fresh, struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    struct step steps[] = {
        {.slot = SLOT_NONE, .sql = fresh_candidates, .args = &args},
        {.slot = SLOT_NONE, .sql = due_candidates, .args = &args},
    };
    uint64_t most = claim->max_message < INT64_MAX ? claim->max_message : INT64_MAX;
    size_t n = 0, n_fresh = 0;
    args_ints(&args, s->avoided, avoid_look(s));
    args_int(&args, claim->limit);
    args_int(&args, s->searched);
    args_int(&args, (int64_t)most);
    if (!(*ret = arena_array(&s->scratch, (size_t)claim->limit * 2, sizeof **ret)))
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    int r = db_run(s, steps, 2, err);
    for (size_t i = 0; i < 2; i++) {
        for (int row = 0; r == 0 && row < PQntuples(steps[i].result); row++)
            (*ret)[n++] = (struct candidate){column_int(steps[i].result, row, 0),
                                             column_int(steps[i].result, row, 1)};
        n_fresh = i == 0 ? n : n_fresh;
        PQclear(steps[i].result);
    }
    *ret_n = n;
    *ret_n_fresh = n_fresh;
    return r;
}

static int mark_all(struct store *s, const struct claim_now *now, const struct unreadable *rows,
                    size_t n)
{
    for (uint32_t i = 0; i < now->g.n; i++)
        for (size_t k = 0; k < n; k++)
            if (rows[k].seq == now->g.messages[i]->seq &&
                unreadable_mark(&s->claim_arena, rows[k].why, now->g.messages[i]) < 0)
                return -1;
    return 0;
}

/* These rows are the batch, as far as they can be had. */
static int take_these(struct store *s, const struct outbox_claim *claim,
                      const struct unreadable *rows, size_t n, struct claim_now *now,
                      struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    bool locks = s->claiming == CLAIM_LOCKS;
    int64_t *seqs = arena_array(&s->scratch, n + 1, sizeof *seqs);
    if (!seqs)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (size_t i = 0; i < n; i++)
        seqs[i] = rows[i].seq;
    s->failed_state[0] = '\0'; /* what fails now need not be for the rows */
    int r = claiming_begin(s, claim, now, err);
    if (r < 0)
        return r;
    args_int(&args, 0);
    args_ints(&args, seqs, n);
    if (!locks)
        claiming_args_lease(&args, now);
    struct step main = {.slot = SLOT_NONE, .sql = locks ? these_lock : these_lease, .args = &args};
    r = claiming_round_trip(s, now, main, false, err);
    if (r == 0 && mark_all(s, now, rows, n) < 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    now->bound = INT64_MIN;
    now->g.full = true; /* there is more, perhaps */
    return claiming_end(s, now, r, err);
}

/* A lease has to be written, which may have to read the row: then they are tried one by one. */
static int take_some(struct store *s, const struct outbox_claim *claim,
                     const struct unreadable *rows, size_t n, struct claim_now *now,
                     struct outbox_err *err)
{
    struct outbox_err why = {.size = sizeof why};
    int r = n > 0 ? take_these(s, claim, rows, n, now, &why) : OUTBOX_OK;
    for (size_t i = 0; i < n && r < 0 && unreadable_is_why(s); i++) {
        r = n > 1 ? take_these(s, claim, &rows[i], 1, now, &why) : r;
        if (r < 0 && unreadable_is_why(s) && !avoid_add(s, rows[i].seq, why.text))
            return outbox_fail(err, r, "%s", why.text);
    }
    if (r == OUTBOX_OK || unreadable_is_why(s)) /* all that failed are left alone now */
        return OUTBOX_OK;
    return outbox_fail(err, r, "%s", why.text);
}

/* Half of the call's time is for the search; the next claim goes on where this one ends. */
static int look(struct store *s, const struct outbox_claim *claim, struct search *ret,
                struct outbox_err *err)
{
    struct candidate *rows;
    size_t n_fresh = 0;
    *ret = (struct search){.max_message = claim->max_message,
                           .until_us = s->host->monotonic_us(s->host) + db_left_ms(s) * 500};
    ret->max = claim->limit < FOUND_MAX ? claim->limit : FOUND_MAX;
    ret->found = arena_array(&s->scratch, ret->max, sizeof *ret->found);
    if (!ret->found)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    int r = candidates(s, claim, &rows, &ret->n, &n_fresh, err);
    if (r < 0)
        return r;
    ret->rows = rows;
    r = unreadable_search(s, ret, err);
    size_t n = ret->n_read < n_fresh ? ret->n_read : n_fresh;
    if (ret->n_found > 0 || ret->n_read == ret->n)
        s->searched = INT64_MIN;
    else if (n > 0)
        s->searched = rows[n - 1].seq;
    return r;
}

int claiming_take_despite(struct store *s, const struct outbox_claim *claim, int r,
                          struct claim_now *now, struct outbox_err *err)
{
    struct search search;
    /* Without the time for another round the claim's own words are told. */
    for (int rounds = 0;
         r < 0 && unreadable_is_why(s) && rounds < ROUNDS_MAX && db_left_ms(s) >= s->timeout_ms / 8;
         rounds++) {
        s->bound = INT64_MIN;
        now->g.n = 0;
        r = look(s, claim, &search, err);
        if (r == 0)
            r = take_some(s, claim, search.found, search.n_found, now, err);
        if (r < 0 || now->g.n > 0)
            return r;
        /* Another has got them, or is just looking at them. */
        if (search.n_found == 0)
            db_rest(s, AGAIN_MS);
        r = claiming_take(s, claim, now, err);
    }
    return r;
}
