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
    }
    return OUTBOX_OK;
}

/* So that the next claim knows when this row is due. */
static void note_delay(struct store *s, const struct outbox_settle *item)
{
    if (item->action != OUTBOX_SETTLE_RETRY || item->delay_ms <= 0 || item->delay_ms > INT32_MAX)
        return;
    int64_t due_us = deadline_now_us(&s->conn.deadline) + item->delay_ms * 1000;
    if (due_us < s->backlog.due_us)
        s->backlog.due_us = due_us;
}

int op_settle(void *instance, struct outbox_batch *batch, const struct outbox_settle *const *items,
              uint64_t n, const struct outbox_call *call, uint8_t *stale, struct outbox_err *err)
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
        r = settle_bisect(&q, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        uint8_t *state = settle_sql_state(&q, i);
        stale[i] = *state != ROW_SETTLED;
        *state = ROW_REPORTED;
        note_delay(s, items[i]);
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
