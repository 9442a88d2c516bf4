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
#include "claim/backlog.h"
#include "claim/claiming.h"
#include "claim/unreadable_search.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HOLD_DEFAULT_MS 60000
/* A server works on a while for a client that is gone, us. */
#define LOST_US INT64_C(10000000)

/* $1 of ROW_COLUMNS: inline_max. In the order of take_fresh and take_due; the last argument of
 * FRESH_BUT are rows to leave alone, which are few and rare. */
#define BEHIND " AND m.seq > $2 AND m.seq <= $3 ORDER BY m.seq LIMIT $4 FOR UPDATE SKIP LOCKED"
#define FRESH READY BEHIND
#define FRESH_BUT(rows) READY " AND m.seq <> ALL (" rows ")" BEHIND
#define DUE                                                                      \
    DELAYED " AND m.available_at <= statement_timestamp() AND m.seq <> ALL ($2)" \
            " ORDER BY m.available_at LIMIT $3 FOR UPDATE SKIP LOCKED"
#define LOCKED(inner) "SELECT " ROW_COLUMNS " FROM {t} m WHERE " inner

static const char due_lock[] = LOCKED(DUE);
static const char due_lease[] = LEASED(ROW_COLUMNS, DUE, "$4", "$5", "$6", "$7");
/* By claiming, then by whether rows are left alone. */
static const char *const fresh[2][2] = {
    {LOCKED(FRESH), LOCKED(FRESH_BUT("$5"))},
    {LEASED(ROW_COLUMNS, FRESH, "$5", "$6", "$7", "$8"),
     LEASED(ROW_COLUMNS, FRESH_BUT("$9"), "$5", "$6", "$7", "$8")},
};

/* ---- the round trips ---- */

int claiming_round_trip(struct store *s, struct claim_now *now, struct step main, bool look,
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

void claiming_args_lease(struct args *args, const struct claim_now *now)
{
    args_int(args, now->c->token);
    args_int(args, now->g.claim->lease_ms);
    args_text(args, now->g.claim->relay);
    args_int(args, now->g.store->timeout_ms);
}

static int take_due(struct store *s, struct claim_now *now, uint32_t limit, struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    bool locks = s->claiming == CLAIM_LOCKS;
    size_t n = avoid_look(s);
    int64_t *have = arena_array(&s->scratch, n + now->g.n + 1, sizeof *have);
    if (!have)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    memcpy(have, s->avoided, n * sizeof *have);
    for (uint32_t i = 0; i < now->g.n; i++)
        have[n++] = now->g.messages[i]->seq;
    args_int(&args, (int64_t)now->g.inline_max);
    args_ints(&args, have, n);
    args_int(&args, limit);
    if (!locks)
        claiming_args_lease(&args, now);
    struct step main = {.slot = locks ? SLOT_DELAYED_LOCK : SLOT_DELAYED_LEASE,
                        .sql = locks ? due_lock : due_lease,
                        .args = &args};
    return claiming_round_trip(s, now, main, false, err);
}

static int take_fresh(struct store *s, struct claim_now *now, int64_t above, int64_t upto,
                      bool look, struct outbox_err *err)
{
    struct args args = {.arena = &s->scratch};
    bool locks = s->claiming == CLAIM_LOCKS;
    size_t n_avoided = avoid_look(s);
    args_int(&args, (int64_t)now->g.inline_max);
    args_int(&args, above);
    args_int(&args, upto);
    args_int(&args, now->g.claim->limit - now->g.n);
    if (!locks)
        claiming_args_lease(&args, now);
    if (n_avoided)
        args_ints(&args, s->avoided, n_avoided);
    struct step main = {.slot = n_avoided ? SLOT_NONE
                                : locks   ? SLOT_FRESH_LOCK
                                          : SLOT_FRESH_LEASE,
                        .sql = fresh[s->claiming][n_avoided > 0],
                        .args = &args};
    uint32_t before = now->g.n;
    int r = claiming_round_trip(s, now, main, look, err);
    if (r == 0 && now->g.n > before)
        now->bound = now->g.messages[now->g.n - 1]->seq;
    return r;
}

/* Retries get half of a batch at most, unless fresh messages leave room: neither starves. */
static int take_all(struct store *s, struct claim_now *now, struct outbox_err *err)
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
static int let_go(struct store *s, struct claim_now *now, struct outbox_err *err)
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

int claiming_end(struct store *s, struct claim_now *now, int r, struct outbox_err *err)
{
    if (r < 0 && !s->db) {
        s->lost = now->c->token;
        s->lost_us = s->host->monotonic_us(s->host) + LOST_US;
    }
    if (r < 0)
        now->g.n = 0;
    if (!now->begun || now->g.n > 0)
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

int claiming_begin(struct store *s, const struct outbox_claim *claim, struct claim_now *ret,
                   struct outbox_err *err)
{
    claim_forget(s);
    *ret = (struct claim_now){.c = arena_array(&s->claim_arena, 1, sizeof *ret->c)};
    if (!ret->c || gather_begin(&ret->g, s, claim) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    return s->claiming == CLAIM_LEASES ? leases_token(&ret->c->token, err) : OUTBOX_OK;
}

int claiming_take(struct store *s, const struct outbox_claim *claim, struct claim_now *now,
                  struct outbox_err *err)
{
    int r = outlook_tidy_up(s, claim, err);
    if (r == 0)
        r = claiming_begin(s, claim, now, err);
    if (r < 0)
        return r;
    r = take_all(s, now, err);
    if (r == 0)
        r = let_go(s, now, err);
    gather_sort(&now->g);
    if (r == 0)
        r = gather_payloads(&now->g, err);
    return claiming_end(s, now, r, err);
}

/* ---- the claim ---- */

static void publish_batch(struct store *s, struct claim_now *now, struct outbox_batch **ret)
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
    s->searched = INT64_MIN;
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
    struct claim_now now;
    if (s->held)
        return outbox_fail(err, OUTBOX_E_CONFIG, "a batch is held already");
    if (claim.lane.p)
        return outbox_fail(err, OUTBOX_E_NOTSUP, "store-postgres has no lanes yet");
    claim.limit = limit_of(s, wanted);
    s->hold_ms = hold_of(s, wanted);
    int r = db_enter(s, call, err);
    if (r == 0)
        r = claiming_take(s, &claim, &now, err);
    if (r == 0 && now.g.n == 0 && outlook_is_behind(s))
        r = claiming_take(s, &claim, &now, err);
    if (r < 0)
        r = claiming_take_despite(s, &claim, r, &now, err);
    if (r < 0)
        return r;
    now.c->settled = arena_array(&s->claim_arena, now.g.n + 1, 1);
    now.c->apart = arena_array(&s->claim_arena, now.g.n + 1, 1);
    now.c->lost = arena_array(&s->claim_arena, now.g.n + 1, 1);
    if (!now.c->settled || !now.c->apart || !now.c->lost) {
        claiming_end(s, &now, OUTBOX_E_RETRY, NULL);
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    publish_batch(s, &now, ret);
    return OUTBOX_OK;
}
