/* SPDX-License-Identifier: Apache-2.0 */
/*
 * claim.c - rows become ours for a time: locked in a transaction that stays open, or marked with a
 * lease. Rows that somebody else holds are passed over.
 *
 * A busy claim is one round trip and begins behind the last row that it saw: dead rows before it
 * need not be walked over. That is a hint only, since late commits, retries and what others gave
 * back lie below. So a claim that comes back short looks there, too, and every claim does once a
 * second; then it also looks for delays and leases that end.
 */
#include "gather.h"
#include "outlook.h"
#include "unreadable.h"

#include <inttypes.h>
#include <stdio.h>

#define HOLD_DEFAULT_MS 60000
/* A server works on a while for a client that is gone, us. */
#define LOST_US INT64_C(10000000)

#define READY "m.status = 'pending' AND m.available_at IS NULL AND m.lane IS NULL"

/* $1 of ROW_COLUMNS: inline_max. In the order of fresh_args and delayed_args. */
#define FRESH READY " AND m.seq > $2 AND m.seq <= $3 ORDER BY m.seq LIMIT $4 FOR UPDATE SKIP LOCKED"
#define DUE                                                                      \
    DELAYED " AND m.available_at <= statement_timestamp() AND m.seq <> ALL ($2)" \
            " ORDER BY m.available_at LIMIT $3 FOR UPDATE SKIP LOCKED"

#define ONE                                                               \
    "m.status = 'pending' AND m.lane IS NULL AND (m.available_at IS NULL" \
    " OR m.available_at <= statement_timestamp()) AND m.seq = $2 FOR UPDATE SKIP LOCKED"

static const char fresh_lock[] = "SELECT " ROW_COLUMNS " FROM {t} m WHERE " FRESH;
static const char due_lock[] = "SELECT " ROW_COLUMNS " FROM {t} m WHERE " DUE;
static const char one_lock[] = "SELECT " UNREADABLE_COLUMNS " FROM {t} m WHERE " ONE;

/* The inner statement is kept apart: a join must not run it again and take more than its LIMIT. An
 * idle relay writes nothing, no lease either. One that waited for a lock until nobody waits for its
 * answer takes nothing. The last four arguments: token, ms, relay, the call's ms. */
#define LEASED(columns, inner, token, ms, relay, call)                                           \
    "WITH picked AS MATERIALIZED (SELECT m.ctid FROM {t} m WHERE clock_timestamp()"              \
    "  < transaction_timestamp() + " call "::int8::float8 * interval '1 millisecond' AND " inner \
    " ), mine AS (INSERT INTO {t_leases} (lease, until, relay) SELECT " token ","                \
    "  clock_timestamp() + " ms "::int8::float8 * interval '1 millisecond', " relay              \
    "  WHERE EXISTS (SELECT 1 FROM picked) ON CONFLICT (lease) DO NOTHING)"                      \
    " UPDATE {t} m SET status = 'processing', lease = " token " FROM picked"                     \
    " WHERE m.ctid = picked.ctid RETURNING " columns
static const char fresh_lease[] = LEASED(ROW_COLUMNS, FRESH, "$5", "$6", "$7", "$8");
static const char due_lease[] = LEASED(ROW_COLUMNS, DUE, "$4", "$5", "$6", "$7");
static const char one_lease[] = LEASED(UNREADABLE_COLUMNS, ONE, "$3", "$4", "$5", "$6");

/* ---- the round trips ---- */

/* One claim on its way. */
struct claiming_now {
    struct gathering g;
    struct claimed *c;
    bool begun; /* something is held */
    bool looked;
    int64_t bound; /* for the next one */
};

/* Runs `main` with what has to come before it and may come along; gathers its rows. */
static int round_trip(struct store *s, struct claiming_now *now, struct step main, bool look,
                      struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    struct step steps[4];
    size_t n = 0, at_main, at_look = 0;
    bool locks = s->claiming == CLAIM_LOCKS;
    if (locks && !now->begun)
        steps[n++] = (struct step){.slot = SLOT_BEGIN, .sql = BEGIN};
    at_main = n;
    steps[n++] = main;
    if (locks)
        steps[n++] = (struct step){
            .slot = SLOT_XID,
            .sql = "SELECT pg_catalog.txid_current_if_assigned(), pg_catalog.pg_backend_pid()"};
    if (look) {
        at_look = n;
        steps[n++] = outlook_step(s, &args);
    }
    int r = db_run(s, steps, n, err);
    if (r < 0) {
        now->begun &= !locks; /* rolled back */
        return r;
    }
    now->begun |= locks || PQntuples(steps[at_main].result) > 0;
    now->looked |= look;
    if (look)
        outlook_take(s, steps[at_look].result);
    if (locks && !PQgetisnull(steps[at_main + 1].result, 0, 0)) {
        now->c->xid = column_int(steps[at_main + 1].result, 0, 0);
        now->c->pid = column_int(steps[at_main + 1].result, 0, 1);
    }
    for (size_t i = 0; i < n; i++)
        if (i != at_main)
            PQclear(steps[i].result);
    return gather_rows(&now->g, steps[at_main].result, err);
}

static void args_lease(struct args *args, const struct claiming_now *now)
{
    args_int(args, now->c->token);
    args_int(args, now->g.claim->lease_ms);
    args_text(args, now->g.claim->relay);
    args_int(args, now->g.store->timeout_ms);
}

static int take_due(struct store *s, struct claiming_now *now, uint32_t limit,
                    struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    bool locks = s->claiming == CLAIM_LOCKS;
    int64_t *have = arena_array(&s->scratch, (size_t)now->g.n + 1, sizeof *have);
    if (!have)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (uint32_t i = 0; i < now->g.n; i++)
        have[i] = now->g.messages[i]->seq;
    args_int(&args, (int64_t)now->g.inline_max);
    args_ints(&args, have, now->g.n);
    args_int(&args, limit);
    if (!locks)
        args_lease(&args, now);
    struct step main = {.slot = locks ? SLOT_DELAYED_LOCK : SLOT_DELAYED_LEASE,
                        .sql = locks ? due_lock : due_lease,
                        .args = &args};
    return round_trip(s, now, main, false, err);
}

static int take_fresh(struct store *s, struct claiming_now *now, int64_t above, int64_t upto,
                      bool look, struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    bool locks = s->claiming == CLAIM_LOCKS;
    args_int(&args, (int64_t)now->g.inline_max);
    args_int(&args, above);
    args_int(&args, upto);
    args_int(&args, now->g.claim->limit - now->g.n);
    if (!locks)
        args_lease(&args, now);
    struct step main = {.slot = locks ? SLOT_FRESH_LOCK : SLOT_FRESH_LEASE,
                        .sql = locks ? fresh_lock : fresh_lease,
                        .args = &args};
    uint32_t before = now->g.n;
    int r = round_trip(s, now, main, look, err);
    if (r == 0 && now->g.n > before)
        now->bound = now->g.messages[now->g.n - 1]->seq;
    return r;
}

/* Retries get half of a batch at most, unless fresh messages leave room: neither starves. */
static int take_all(struct store *s, struct claiming_now *now, struct outbox_err *err)
{
    struct gathering *g = &now->g;
    uint32_t limit = g->claim->limit, half = (limit + 1) / 2;
    int64_t time = s->host->monotonic_us(s->host);
    bool look = time >= s->outlook.look_us, due = s->outlook.due || time >= s->outlook.delayed_us;
    int64_t bound = now->bound = look ? INT64_MIN : s->bound;
    int r = OUTBOX_OK;
    if (due)
        r = take_due(s, now, half, err);
    uint32_t n_due = g->n;
    if (due)
        s->outlook.delayed_us = INT64_MAX;
    s->outlook.due &= n_due == half;
    if (r == 0 && g->n < limit && !g->full)
        r = take_fresh(s, now, bound, INT64_MAX, look, err);
    if (r == 0 && g->n < limit && !g->full && (bound > INT64_MIN || !now->looked))
        r = take_fresh(s, now, INT64_MIN, bound, !now->looked, err);
    if (r == 0 && g->n < limit && !g->full && s->outlook.due && (!due || n_due == half))
        r = take_due(s, now, limit - g->n, err);
    return r;
}

/* ---- a batch ---- */

void claim_forget(struct store *s)
{
    for (size_t i = 0; i < s->n_rows; i++)
        PQclear(s->rows[i]);
    s->n_rows = 0;
    arena_reset(&s->claim_arena);
}

/* Rows that are held and are not in the batch. With locks they are free when it is. */
static int let_go(struct store *s, struct claiming_now *now, struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    PGresult *result;
    if (s->claiming == CLAIM_LOCKS || now->g.n_excess == 0)
        return OUTBOX_OK;
    args_ints(&args, now->g.excess, now->g.n_excess);
    args_int(&args, now->c->token);
    int r = db_query(s, SLOT_EXCESS,
                     "UPDATE {t} SET status = 'pending', lease = NULL WHERE seq = ANY ($1) AND"
                     " status = 'processing' AND lease = $2",
                     &args, &result, err);
    PQclear(result);
    return r;
}

/* A claim that holds nothing is ended at once, one that failed as far as that goes. */
static int end_empty(struct store *s, struct claiming_now *now, int r, struct outbox_err *err)
{
    if (!now->begun)
        return r;
    if (s->claiming == CLAIM_LEASES)
        return r < 0 ? (leases_give_back(s, now->c->token, NULL), r)
                     : leases_give_back(s, now->c->token, err);
    return r < 0 ? db_rollback(s, r) : db_exec(s, "ROLLBACK", err);
}

/* Rows that did not fit into the bytes were held for nothing: next time a little more than fit. */
static uint32_t limit_of(const struct store *s, const struct outbox_claim *claim)
{
    uint32_t most = s->fits > claim->limit / 2 ? claim->limit : s->fits * 2;
    return most > 0 ? most : claim->limit;
}

/* A little more than the host means to hold a batch: then the server ends the transaction. */
static int64_t hold_of(const struct store *s, const struct outbox_claim *claim)
{
    int64_t ms =
        OUTBOX_HAS(claim, hold_ms) && claim->hold_ms > 0 ? claim->hold_ms : HOLD_DEFAULT_MS;
    return s->claiming == CLAIM_LOCKS ? ms + ms / 4 + 2000 : 0;
}

static int begin(struct store *s, const struct outbox_claim *claim, struct claiming_now *now,
                 struct outbox_err *err)
{
    claim_forget(s);
    *now = (struct claiming_now){.c = arena_array(&s->claim_arena, 1, sizeof *now->c)};
    if (!now->c || gather_begin(&now->g, s, claim) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    return s->claiming == CLAIM_LEASES ? leases_token(&now->c->token, err) : OUTBOX_OK;
}

/* Gathers a batch; empty ones end here. */
static int take_batch(struct store *s, const struct outbox_claim *claim, struct claiming_now *now,
                      struct outbox_err *err)
{
    int r = outlook_tidy_up(s, claim, err);
    if (r == 0)
        r = begin(s, claim, now, err);
    if (r < 0)
        return r;
    r = take_all(s, now, err);
    if (r == 0)
        r = let_go(s, now, err);
    gather_sort(&now->g);
    if (r == 0)
        r = gather_payloads(&now->g, err);
    if (r < 0 && !s->db) {
        s->lost = now->c->token;
        s->lost_us = s->host->monotonic_us(s->host) + LOST_US;
    }
    return r < 0 || now->g.n == 0 ? end_empty(s, now, r, err) : OUTBOX_OK;
}

/* ---- rows that cannot be read ---- */

/* A batch of this row alone, as far as it can be had. */
static int take_one(struct store *s, const struct outbox_claim *claim, int64_t seq,
                    const struct outbox_err *why, struct claiming_now *now, struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    bool locks = s->claiming == CLAIM_LOCKS;
    int r = begin(s, claim, now, err);
    if (r < 0)
        return r;
    args_int(&args, 0);
    args_int(&args, seq);
    if (!locks)
        args_lease(&args, now);
    struct step main = {.slot = SLOT_NONE, .sql = locks ? one_lock : one_lease, .args = &args};
    r = round_trip(s, now, main, false, err);
    if (r == 0 && now->g.n > 0 && unreadable_mark(&s->claim_arena, why, now->g.messages[0]) < 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    now->bound = INT64_MIN;
    now->g.full = true; /* there may be more behind it */
    return r < 0 || now->g.n == 0 ? end_empty(s, now, r, err) : OUTBOX_OK;
}

/* The rows that a claim from the beginning may take. */
static int candidates(struct store *s, uint32_t limit, int64_t **ret, size_t *ret_n,
                      struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    struct step steps[] = {
        {.slot = SLOT_NONE,
         .sql = "SELECT m.seq FROM {t} m WHERE " READY
                " ORDER BY m.seq LIMIT $1 FOR UPDATE SKIP LOCKED",
         .args = &args},
        {.slot = SLOT_NONE,
         .sql = "SELECT m.seq FROM {t} m WHERE " DELAYED
                " AND m.available_at <= statement_timestamp() ORDER BY m.available_at LIMIT $1"
                " FOR UPDATE SKIP LOCKED",
         .args = &args},
    };
    args_int(&args, limit);
    *ret_n = 0;
    if (!(*ret = arena_array(&s->scratch, (size_t)limit * 2, sizeof **ret)))
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    int r = db_run(s, steps, 2, err);
    for (size_t i = 0; i < 2; i++) {
        for (int row = 0; r == 0 && row < PQntuples(steps[i].result); row++)
            (*ret)[(*ret_n)++] = column_int(steps[i].result, row, 0);
        PQclear(steps[i].result);
    }
    return r;
}

/* The claim failed with r, *err says why. If it was for a row that cannot be read, that row is the
 * batch; if another relay has got it meanwhile, there may be an ordinary one. */
static int take_despite(struct store *s, const struct outbox_claim *claim, int r,
                        struct claiming_now *now, struct outbox_err *err)
{
    struct outbox_err why = {.size = sizeof why};
    const int64_t *seq;
    int64_t *seqs;
    size_t n;
    if (!unreadable_is_why(s))
        return r;
    s->bound = INT64_MIN;
    r = candidates(s, claim->limit, &seqs, &n, err);
    if (r == 0)
        r = unreadable_find(s, seqs, n, claim->max_message, &seq, &why, err);
    if (r == 0 && seq)
        r = take_one(s, claim, *seq, &why, now, err);
    if (r == 0 && (!seq || now->g.n == 0))
        r = take_batch(s, claim, now, err);
    return r;
}

/* ---- the claim ---- */

static void publish_batch(struct store *s, struct claiming_now *now, struct outbox_batch **ret)
{
    struct gathering *g = &now->g;
    struct claimed *c = now->c;
    c->left = g->n;
    c->open = s->claiming == CLAIM_LOCKS && g->n > 0;
    c->batch = (struct outbox_batch){
        .size = sizeof c->batch,
        .n = g->n,
        .messages = (const struct outbox_message *const *)g->messages,
        .next_due_ms = outlook_next_due_ms(s),
        .more = g->n > 0 && (g->full || g->n == g->claim->limit),
    };
    if (g->n > 0 && s->claiming == CLAIM_LEASES) {
        snprintf(c->lease, sizeof c->lease, "%" PRId64, c->token);
        c->batch.lease = outbox_cstr(c->lease);
    }
    s->bound = c->batch.more ? now->bound : INT64_MIN;
    if (!c->batch.more)
        s->outlook.look_us = 0;
    s->fits = g->n_excess > 0 ? g->n : 0;
    s->held = c;
    *ret = &c->batch;
}

int claim(void *instance, const struct outbox_claim *wanted, const struct outbox_call *call,
          struct outbox_batch **ret, struct outbox_err *err)
{
    struct store *s = instance;
    struct outbox_claim claim = *wanted;
    struct claiming_now now;
    if (s->held)
        return outbox_fail(err, OUTBOX_E_CONFIG, "a batch is held already");
    if (claim.lane.p)
        return outbox_fail(err, OUTBOX_E_NOTSUP, "store-postgres has no lanes yet");
    claim.limit = limit_of(s, wanted);
    s->hold_ms = hold_of(s, wanted);
    int r = db_enter(s, call, err);
    if (r == 0)
        r = take_batch(s, &claim, &now, err);
    if (r == 0 && now.g.n == 0 && outlook_is_behind(s))
        r = take_batch(s, &claim, &now, err);
    if (r < 0)
        r = take_despite(s, &claim, r, &now, err);
    if (r < 0)
        return r;
    now.c->settled = arena_array(&s->claim_arena, now.g.n + 1, 1);
    now.c->apart = arena_array(&s->claim_arena, now.g.n + 1, 1);
    now.c->lost = arena_array(&s->claim_arena, now.g.n + 1, 1);
    if (!now.c->settled || !now.c->apart || !now.c->lost) {
        end_empty(s, &now, OUTBOX_E_RETRY, NULL);
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    publish_batch(s, &now, ret);
    return OUTBOX_OK;
}
