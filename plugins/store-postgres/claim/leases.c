/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leases.c - claims that are marks in their rows and a row of {t_leases} which says until when. A
 * settle and the end of a lease both lock that row first, so that the two never meet half-way.
 */
#include "claim/claim_mode.h"

#include <inttypes.h>

/* How long a server may work on for a client that is gone, us. */
#define LOST_US INT64_C(10000000)

/* ---- the mode ---- */

/* The inner statement is kept apart: a join must not run it again and take more than its LIMIT. An
 * idle relay writes nothing, no lease either. A claim that waited for a lock until nobody waits for
 * its answer takes nothing. The last four arguments are those of add_args: token, ms, relay, the
 * call's ms. */
#define LEASED(columns, rows, token, ms, relay, call)                                           \
    "WITH picked AS MATERIALIZED (SELECT m.ctid FROM ONLY {t} m WHERE clock_timestamp()"        \
    "  < transaction_timestamp() + " call "::int8::float8 * interval '1 millisecond' AND " rows \
    " ), mine AS (INSERT INTO {t_leases} (lease, until, relay) SELECT " token ","               \
    "  clock_timestamp() + " ms "::int8::float8 * interval '1 millisecond', " relay             \
    "  WHERE EXISTS (SELECT 1 FROM picked) ON CONFLICT (lease) DO NOTHING)"                     \
    " UPDATE ONLY {t} m SET status = 'processing', lease = " token " FROM picked"               \
    " WHERE m.ctid = picked.ctid RETURNING " columns ", (SELECT pg_catalog.count(*) FROM picked)"

static void add_args(const struct claim_batch *b, struct pg_args *args)
{
    pg_args_int(args, b->c->token);
    pg_args_int(args, b->build.claim->lease_ms);
    pg_args_text(args, b->build.claim->relay);
    pg_args_int(args, b->s->conn.deadline.timeout_ms);
}

/* What is refused here stays with the lease, and ends with it. */
static int release_excess(struct claim_batch *b, struct outbox_err *err)
{
    return leases_give_back_some(b->s, b->c->token, b->build.excess, b->build.n_excess, err);
}

/* A claim whose answer was lost may still be committed: the next claims give it back. Why the claim
 * failed stays known. */
static void cancel(struct claim_batch *b)
{
    struct store *s = b->s;
    char sqlstate[sizeof s->conn.sqlstate], words[sizeof s->conn.words];
    memcpy(sqlstate, s->conn.sqlstate, sizeof sqlstate);
    memcpy(words, s->conn.words, sizeof words);
    bool lost = !s->conn.db || (b->begun && leases_give_back(s, b->c->token, NULL) < 0);
    if (lost) {
        s->claim.lost_token = b->c->token;
        s->claim.lost_until_us = deadline_now_us(&s->conn.deadline) + LOST_US;
    }
    memcpy(s->conn.sqlstate, sqlstate, sizeof sqlstate);
    memcpy(s->conn.words, words, sizeof words);
}

static void keep(struct claim_batch *b)
{
    snprintf(b->c->lease, sizeof b->c->lease, "%" PRId64, b->c->token);
    b->c->batch.lease = outbox_cstr(b->c->lease);
}

static int release(struct store *s, struct claimed *c, const struct outbox_call *call,
                   struct outbox_err *err)
{
    if (c->ended || c->batch.n == 0)
        return OUTBOX_OK;
    int r = store_enter_held(s, call, err);
    return r < 0 ? r : leases_give_back(s, c->token, err);
}

const struct claim_mode leases_mode = {
    .kind = CLAIM_LEASES,
    .capabilities = OUTBOX_STORE_PARTIAL | OUTBOX_STORE_RENEWS,
    .fresh = LEASED(ROW_COLUMNS, FRESH_ROWS, "$6", "$7", "$8", "$9"),
    .due = LEASED(ROW_COLUMNS, DUE_ROWS, "$4", "$5", "$6", "$7"),
    .these = LEASED(ROW_COLUMNS, THESE_ROWS, "$3", "$4", "$5", "$6"),
    .these_bare = LEASED(UNREADABLE_COLUMNS, THESE_ROWS, "$3", "$4", "$5", "$6"),
    .fresh_stmt = STMT_FRESH_LEASE,
    .due_stmt = STMT_DUE_LEASE,
    .add_args = add_args,
    .release_excess = release_excess,
    .cancel = cancel,
    .keep = keep,
    .release = release,
};

int op_renew(void *instance, struct outbox_str lease, uint32_t lease_ms,
             const struct outbox_call *call, uint64_t *ret_held, struct outbox_err *err)
{
    struct store *s = instance;
    int64_t n;
    *ret_held = 0;
    int r = store_enter(s, call, err);
    if (r < 0)
        return r;
    struct pg_args args = {.arena = &s->conn.scratch};
    pg_args_text(&args, lease);
    pg_args_int(&args, lease_ms);
    r = pipeline_number(&s->conn,
                        "WITH renewed AS (UPDATE {t_leases} SET until = clock_timestamp() +"
                        "  $2::int8::float8 * interval '1 millisecond' WHERE lease = $1::int8"
                        "  RETURNING lease)"
                        " SELECT count(*) FROM ONLY {t} m JOIN renewed ON m.lease = renewed.lease"
                        " WHERE m.status = 'processing'",
                        &args, &n, err);
    *ret_held = (uint64_t)n;
    return r;
}
