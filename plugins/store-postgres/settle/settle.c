/* SPDX-License-Identifier: Apache-2.0 */
/* settle.c - what became of claimed rows, and the end of a batch. */
#include "settle/settle_sql.h"

static int check_items(const struct claimed *c, const struct outbox_settle *const *items,
                       uint64_t n, struct outbox_err *err)
{
    for (uint64_t i = 0; i < n; i++) {
        if (items[i]->index >= c->batch.n || c->states[items[i]->index] == ROW_REPORTED)
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "settle: no such message in the batch, or settled already");
        if (items[i]->action < OUTBOX_SETTLE_DONE || items[i]->action > OUTBOX_SETTLE_FAILED)
            return outbox_fail(err, OUTBOX_E_NOTSUP, "settle: store-postgres has no lanes yet");
        if (OUTBOX_HAS(items[i], refused_action) && items[i]->refused_action != 0 &&
            items[i]->refused_action != OUTBOX_SETTLE_RETRY &&
            items[i]->refused_action != OUTBOX_SETTLE_FAILED)
            return outbox_fail(err, OUTBOX_E_CONFIG, "settle: a second outcome is RETRY or FAILED");
    }
    return OUTBOX_OK;
}

/* So that the next claim knows when this row is due. */
static void note_delay(struct store *s, uint32_t action, int64_t delay_ms)
{
    if (action != OUTBOX_SETTLE_RETRY || delay_ms <= 0 || delay_ms > INT32_MAX)
        return;
    int64_t due_us = deadline_now_us(&s->conn.deadline) + delay_ms * 1000;
    if (due_us < s->backlog.due_us)
        s->backlog.due_us = due_us;
}

static const uint8_t reports[ROW_REPORTED] = {
    [ROW_SETTLED] = OUTBOX_SETTLED,
    [ROW_STALE] = OUTBOX_SETTLED_STALE,
    [ROW_REFUSED] = OUTBOX_SETTLED_REFUSED,
    [ROW_QUARANTINED] = OUTBOX_SETTLED_QUARANTINED,
};

int op_settle(void *instance, struct outbox_batch *batch, const struct outbox_settle *const *items,
              uint64_t n, const struct outbox_call *call, uint8_t *settled, struct outbox_err *err)
{
    struct store *s = instance;
    struct claimed *c = s->claim.held;
    if (!c || batch != &c->batch)
        return outbox_fail(err, OUTBOX_E_CONFIG, "settle: this batch is not held");
    int r = check_items(c, items, n, err);
    if (r == 0 && n > 0)
        r = store_enter_held(s, call, err);
    if (r < 0 || n == 0)
        return r;
    struct settle_sql q = {.s = s, .c = c, .items = items, .n = (size_t)n};
    r = settle_sql_begin(&q, err);
    if (r == 0)
        r = settle_apart(&q, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        uint8_t *state = settle_sql_state(&q, i);
        settled[i] = reports[*state];
        *state = ROW_REPORTED;
        note_delay(s, items[i]->action, items[i]->delay_ms);
        if (settled[i] == OUTBOX_SETTLED_REFUSED)
            note_delay(s, items[i]->refused_action, items[i]->refused_delay_ms);
    }
    c->n_left -= (uint32_t)n;
    return OUTBOX_OK;
}

int op_release(void *instance, struct outbox_batch *batch, const struct outbox_call *call,
               struct outbox_err *err)
{
    struct store *s = instance;
    struct claimed *c = s->claim.held;
    if (!c || batch != &c->batch)
        return outbox_fail(err, OUTBOX_E_CONFIG, "release: this batch is not held");
    int r = s->mode->release(s, c, call, err);
    if (c->n_left > 0)
        s->claim.bound = INT64_MIN; /* what was given back is older than what comes */
    s->claim.held = NULL;
    claim_batch_free(s);
    return r;
}
