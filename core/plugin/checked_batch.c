/* SPDX-License-Identifier: Apache-2.0 */
/* checked_batch.c - claim, settle and release: is a batch what was asked for, and does it stay so?
 */
#include "plugin/checked_call.h"

#include "base/hash.h"

#include <string.h>

/* More of a text is not looked at for changes. */
#define HASHED_MAX 4096u

/* ---- what must be true of a batch ---- */

static uint64_t hash_str(uint64_t hash, struct outbox_str text)
{
    return hash_bytes(hash_number(hash, text.n), text.p, text.n < HASHED_MAX ? text.n : HASHED_MAX);
}

static uint64_t hash_batch(const struct outbox_batch *batch)
{
    uint64_t hash = hash_number(HASH_START, batch->n);
    for (uint32_t i = 0; i < batch->n; i++) {
        const struct outbox_message *m = batch->messages[i];
        hash = hash_bytes(hash, m, sizeof *m);
        hash = hash_str(hash_str(hash, m->id), m->topic);
        hash = hash_str(hash_str(hash, m->key), m->payload);
        hash = hash_str(hash_str(hash, m->row_id), m->defect);
        for (uint64_t k = 0; k < m->n_headers; k++)
            hash = hash_str(hash_str(hash, m->headers[k].name), m->headers[k].value);
    }
    return hash;
}

static const char *lacks(const struct outbox_message *m, uint64_t max_message)
{
    if (m->size < offsetof(struct outbox_message, handle))
        return "its size";
    if (!m->row_id.p || m->row_id.n == 0)
        return "a row_id";
    if (m->defect.p)
        return NULL; /* the host looks at nothing else */
    if (!m->id.p || m->id.n == 0)
        return "an id";
    if (!m->topic.p)
        return "a topic";
    if (!m->key.p)
        return "a key, which may be empty, but not NULL";
    if (m->payload.p && max_message && m->payload.n > max_message)
        return "a defect for its payload above max_message";
    if (m->n_headers > 0 && !m->headers)
        return "its headers";
    for (uint64_t i = 0; i < m->n_headers; i++) {
        const struct outbox_header *h = &m->headers[i];
        if (!h->name.p || !h->value.p || h->name.p[h->name.n] || h->value.p[h->value.n])
            return "the NUL behind a header's name or value";
    }
    return NULL;
}

static uint64_t bytes_of(const struct outbox_message *m)
{
    uint64_t n = m->id.n + m->topic.n + m->key.n + m->payload.n;
    for (uint64_t i = 0; i < m->n_headers; i++)
        n += m->headers[i].name.n + m->headers[i].value.n;
    return n;
}

static void check_messages(struct checked_call *here, const struct outbox_claim *claim,
                           const struct outbox_batch *batch)
{
    uint64_t bytes = 0;
    bool ordered = true;
    for (uint32_t i = 0; i < batch->n; i++) {
        const struct outbox_message *m = batch->messages[i];
        const char *what = lacks(m, claim->max_message);
        if (what) {
            checked_call_report(here, "batch-message", "message %u of the batch lacks %s", i, what);
            here->useless = "batch-message";
            return;
        }
        ordered &= i == 0 || batch->messages[i - 1]->seq < m->seq;
        bytes += bytes_of(m);
    }
    if (!ordered)
        checked_call_report(here, "batch-order", "the batch is not in the order of seq");
    if (batch->n > 1 && claim->max_bytes && bytes > claim->max_bytes)
        checked_call_report(here, "batch-bytes", "%llu bytes in a batch, and %llu were allowed",
                            (unsigned long long)bytes, (unsigned long long)claim->max_bytes);
}

static void check_batch(struct checked_call *here, const struct outbox_claim *claim,
                        const struct outbox_batch *batch)
{
    if (!batch || (batch->n > 0 && !batch->messages)) {
        checked_call_report(here, "unset-ret", "it returned OUTBOX_OK and no batch");
        here->useless = "unset-ret";
        return;
    }
    if (batch->n > claim->limit) {
        checked_call_report(here, "batch-limit", "it claimed %u messages, and %u were allowed",
                            batch->n, claim->limit);
        here->useless = "batch-limit";
    }
    check_messages(here, claim, batch);
    if (here->useless)
        return;
    here->of->batch = batch;
    here->of->batch_hash = hash_batch(batch);
}

static void check_unchanged(struct checked_call *here, const struct outbox_batch *batch)
{
    struct checked *c = here->of;
    if (!c->batch || c->batch != batch || hash_batch(batch) == c->batch_hash)
        return;
    checked_call_report(here, "batch-changed", "a message changed before its batch was released");
    c->batch = NULL; /* told */
}

/* ---- the operations ---- */

static int claim(void *instance, const struct outbox_claim *asked, const struct outbox_call *call,
                 struct outbox_batch **ret, struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    struct outbox_batch *batch = NULL;
    checked_call_begin(&here, c, "claim", call, err);
    struct outbox_claim *lent = checked_pages_add(&here.pages, asked, sizeof *asked, false);
    if (lent) {
        lent->lane = checked_copy_str(&here.pages, asked->lane);
        lent->relay = checked_copy_str(&here.pages, asked->relay);
    }
    int r = CHECKED_CALL(
        &here, checked_store_inner(c)->claim(c->inner, lent, here.call, &batch, here.err));
    c->batch = NULL;
    if (r == OUTBOX_OK)
        check_batch(&here, asked, batch);
    r = checked_call_end(&here, r);
    if (r == OUTBOX_OK)
        *ret = batch;
    return r;
}

static const struct outbox_settle *copy_item(struct checked_pages *pages,
                                             const struct outbox_settle *item)
{
    struct outbox_settle *copy = checked_pages_add(pages, item, sizeof *item, false);
    struct outbox_str *lanes =
        item->n_lanes && item->lanes
            ? checked_pages_add(pages, item->lanes, item->n_lanes * sizeof *lanes, false)
            : NULL;
    for (uint64_t i = 0; lanes && i < item->n_lanes; i++)
        lanes[i] = checked_copy_str(pages, item->lanes[i]);
    if (copy) {
        copy->reason = checked_copy_str(pages, item->reason);
        copy->lane = checked_copy_str(pages, item->lane);
        copy->lanes = lanes;
    }
    return copy;
}

static void check_settled(struct checked_call *here, const uint8_t *settled, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (settled[i] > OUTBOX_SETTLED_QUARANTINED) {
            checked_call_report(here, "outcome-number", "there is no %u in settled", settled[i]);
            here->useless = "outcome-number";
            return;
        }
}

static int settle(void *instance, struct outbox_batch *batch,
                  const struct outbox_settle *const *items, uint64_t n,
                  const struct outbox_call *call, uint8_t *settled, struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    checked_call_begin(&here, c, "settle", call, err);
    check_unchanged(&here, batch);
    const struct outbox_settle **lent =
        checked_pages_add(&here.pages, NULL, n * sizeof *lent, false);
    uint8_t *lent_settled = checked_pages_add(&here.pages, settled, n, true);
    for (uint64_t i = 0; i < n && lent; i++)
        lent[i] = copy_item(&here.pages, items[i]);
    int r = CHECKED_CALL(&here, checked_store_inner(c)->settle(c->inner, batch, lent, n, here.call,
                                                               lent_settled, here.err));
    if (r == OUTBOX_OK) {
        check_settled(&here, lent_settled, n);
        memcpy(settled, lent_settled, n);
    }
    return checked_call_end(&here, r);
}

static int release(void *instance, struct outbox_batch *batch, const struct outbox_call *call,
                   struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    checked_call_begin(&here, c, "release", call, err);
    check_unchanged(&here, batch);
    c->batch = NULL;
    int r =
        CHECKED_CALL(&here, checked_store_inner(c)->release(c->inner, batch, here.call, here.err));
    return checked_call_end(&here, r);
}

void checked_batch_set_ops(struct outbox_store_ops *ops)
{
    ops->claim = claim;
    ops->settle = settle;
    ops->release = release;
}
