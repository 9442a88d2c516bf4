/* SPDX-License-Identifier: Apache-2.0 */
/* claim.c - rows become ours for a time. */
#include "claim/claim_mode.h"

#define HOLD_DEFAULT_MS 60000

/* A little more than the host means to hold the batch: then the server ends the transaction. */
static int64_t hold_of(const struct outbox_claim *claim)
{
    int64_t ms =
        OUTBOX_HAS(claim, hold_ms) && claim->hold_ms > 0 ? claim->hold_ms : HOLD_DEFAULT_MS;
    return ms + ms / 4 + 2000;
}

/* After a batch that was smaller than the host wanted, for its bytes or for a bad row, the next one
 * is for twice as many rows at most: rows that do not get into the batch are claimed for nothing.
 */
static uint32_t next_limit(const struct batch_build *build, uint32_t wanted)
{
    uint32_t most = build->claim->limit;
    if (build->n_excess > 0)
        most = build->n;
    else if (most >= wanted)
        return 0;
    return most > UINT32_MAX / 2 ? 0 : most * 2;
}

static void return_batch(struct claim_batch *b, uint32_t wanted, struct outbox_batch **ret)
{
    struct store *s = b->s;
    struct batch_build *build = &b->build;
    size_t n_aside;
    quarantine_active(&s->quarantine, deadline_now_us(&s->conn.deadline), &n_aside);
    b->c->n_left = build->n;
    b->c->batch = (struct outbox_batch){
        .size = sizeof b->c->batch,
        .n = build->n,
        .messages = (const struct outbox_message *const *)build->messages,
        .next_due_ms = backlog_next_due_ms(s),
        .more = build->n > 0 && (build->full || build->n == build->claim->limit),
        .n_quarantined = (uint32_t)n_aside,
        .quarantine_reason = outbox_cstr(n_aside > 0 ? s->quarantine.reason : NULL),
    };
    s->claim.skipped = b->skipped;
    if (build->n > 0)
        s->mode->keep(b);
    s->claim.bound = b->c->batch.more ? b->bound : INT64_MIN;
    if (!b->c->batch.more)
        s->backlog.next_read_us = 0;
    s->claim.limit = next_limit(build, wanted);
    s->claim.held = b->c;
    *ret = &b->c->batch;
}

int op_claim(void *instance, const struct outbox_claim *wanted, const struct outbox_call *call,
             struct outbox_batch **ret, struct outbox_err *err)
{
    struct store *s = instance;
    struct outbox_claim claim = *wanted;
    struct claim_batch b = {.s = s};
    if (s->claim.held)
        return outbox_fail(err, OUTBOX_E_CONFIG, "a batch is held already");
    if (claim.lane.p)
        return outbox_fail(err, OUTBOX_E_NOTSUP, "store-postgres has no lanes yet");
    s->conn.hold_ms = s->mode->kind == CLAIM_LOCKS ? hold_of(wanted) : 0;
    if (s->claim.limit > 0 && s->claim.limit < claim.limit)
        claim.limit = s->claim.limit;
    int r = store_enter(s, call, err);
    if (r == 0)
        r = owed_write(s, err);
    if (r < 0)
        return r;
    if (s->claim.skipped)
        r = claim_apart(&b, s, &claim, OUTBOX_OK, err);
    if (r == 0 && b.build.n == 0)
        r = claim_batch_take(&b, s, &claim, err);
    if (r == 0 && b.build.n == 0 && backlog_is_due(s))
        r = claim_batch_take(&b, s, &claim, err);
    if (r < 0 || (b.build.n == 0 && b.skipped))
        r = claim_apart(&b, s, &claim, r, err);
    if (r == 0)
        return_batch(&b, wanted->limit, ret);
    return r;
}
