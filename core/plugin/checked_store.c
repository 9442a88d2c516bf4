/* SPDX-License-Identifier: Apache-2.0 */
/* checked_store.c - the operations of a store around its batches (checked_batch.c). */
#include "plugin/checked_call.h"

const struct outbox_store_ops *checked_store_inner(const struct checked *c)
{
    return &c->plugin->inner->ops.store;
}

static int check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    checked_call_begin(&here, c, "check", call, err);
    return checked_call_end(
        &here, CHECKED_CALL(&here, checked_store_inner(c)->check(c->inner, here.call, here.err)));
}

static int schema(void *instance, const struct outbox_exec *exec, struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    checked_call_begin(&here, c, "schema", NULL, err);
    const struct outbox_exec *lent = checked_pages_add(&here.pages, exec, sizeof *exec, false);
    return checked_call_end(
        &here, CHECKED_CALL(&here, checked_store_inner(c)->schema(c->inner, lent, here.err)));
}

static int init(void *instance, const struct outbox_call *call, struct outbox_str *ret,
                struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    checked_call_begin(&here, c, "init", call, err);
    int r = CHECKED_CALL(&here, checked_store_inner(c)->init(c->inner, here.call, ret, here.err));
    if (r == OUTBOX_OK && !checked_reason_take(&c->reasons, ret))
        checked_call_report(&here, "reason-memory", "what it did cannot be read");
    checked_publisher_reasons(&here);
    return checked_call_end(&here, r);
}

static int renew(void *instance, struct outbox_str lease, uint32_t lease_ms,
                 const struct outbox_call *call, uint64_t *ret_held, struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    checked_call_begin(&here, c, "renew", call, err);
    struct outbox_str lent = checked_copy_str(&here.pages, lease);
    return checked_call_end(
        &here, CHECKED_CALL(&here, checked_store_inner(c)->renew(c->inner, lent, lease_ms,
                                                                 here.call, ret_held, here.err)));
}

static int wait(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    checked_call_begin(&here, c, "wait", call, err);
    return checked_call_end(
        &here, CHECKED_CALL(&here, checked_store_inner(c)->wait(c->inner, here.call, here.err)));
}

static int wait_stop(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    checked_call_begin(&here, c, "wait_stop", call, err);
    return checked_call_end(&here, CHECKED_CALL(&here, checked_store_inner(c)->wait_stop(
                                                           c->inner, here.call, here.err)));
}

/* ---- for people ---- */

static const struct outbox_filter *copy_filter(struct checked_pages *pages,
                                               const struct outbox_filter *filter)
{
    struct outbox_filter *copy = checked_pages_add(pages, filter, sizeof *filter, false);
    struct outbox_str *ids =
        filter->n_ids ? checked_pages_add(pages, filter->ids, filter->n_ids * sizeof *ids, false)
                      : NULL;
    for (uint64_t i = 0; ids && i < filter->n_ids; i++)
        ids[i] = checked_copy_str(pages, filter->ids[i]);
    if (copy) {
        copy->topic = checked_copy_terminated(pages, filter->topic);
        copy->lane = checked_copy_str(pages, filter->lane);
        copy->ids = ids;
    }
    return copy;
}

static void check_page(struct checked_call *here, const void *page, uint32_t n, uint32_t limit)
{
    if (!page) {
        checked_call_report(here, "unset-ret", "it returned OUTBOX_OK and set no *ret");
        here->useless = "unset-ret";
    } else if (n > limit) {
        checked_call_report(here, "batch-limit", "it lists %u rows, and %u were asked for", n,
                            limit);
    }
}

static int list(void *instance, const struct outbox_filter *filter, int64_t after, uint32_t limit,
                const struct outbox_call *call, struct outbox_page **ret, struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    struct outbox_page *page = NULL;
    checked_call_begin(&here, c, "list", call, err);
    const struct outbox_filter *lent = copy_filter(&here.pages, filter);
    int r = CHECKED_CALL(&here, checked_store_inner(c)->list(c->inner, lent, after, limit,
                                                             here.call, &page, here.err));
    if (r == OUTBOX_OK)
        check_page(&here, page, page ? page->n : 0, limit);
    r = checked_call_end(&here, r);
    if (r == OUTBOX_OK)
        *ret = page;
    return r;
}

typedef int (*bulk_fn)(void *instance, const struct outbox_filter *filter, int64_t *after,
                       uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                       struct outbox_err *err);

static int bulk(bulk_fn fn, const char *operation, struct checked *c,
                const struct outbox_filter *filter, int64_t *after, uint32_t limit,
                const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err)
{
    struct checked_call here;
    checked_call_begin(&here, c, operation, call, err);
    const struct outbox_filter *lent = copy_filter(&here.pages, filter);
    return checked_call_end(
        &here, CHECKED_CALL(&here, fn(c->inner, lent, after, limit, here.call, ret_n, here.err)));
}

static int requeue(void *instance, const struct outbox_filter *filter, int64_t *after,
                   uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                   struct outbox_err *err)
{
    struct checked *c = instance;
    return bulk(checked_store_inner(c)->requeue, "requeue", c, filter, after, limit, call, ret_n,
                err);
}

static int discard(void *instance, const struct outbox_filter *filter, int64_t *after,
                   uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                   struct outbox_err *err)
{
    struct checked *c = instance;
    return bulk(checked_store_inner(c)->discard, "discard", c, filter, after, limit, call, ret_n,
                err);
}

static int purge(void *instance, const struct outbox_filter *filter, uint32_t limit,
                 const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    checked_call_begin(&here, c, "purge", call, err);
    const struct outbox_filter *lent = copy_filter(&here.pages, filter);
    return checked_call_end(
        &here, CHECKED_CALL(&here, checked_store_inner(c)->purge(c->inner, lent, limit, here.call,
                                                                 ret_n, here.err)));
}

static int stats(void *instance, struct outbox_str lane, uint32_t flags,
                 const struct outbox_call *call, struct outbox_stats *ret, struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    checked_call_begin(&here, c, "stats", call, err);
    struct outbox_stats *lent = checked_pages_add(&here.pages, ret, sizeof *ret, true);
    struct outbox_str lent_lane = checked_copy_str(&here.pages, lane);
    int r = CHECKED_CALL(&here, checked_store_inner(c)->stats(c->inner, lent_lane, flags, here.call,
                                                              lent, here.err));
    if (r == OUTBOX_OK)
        *ret = *lent;
    return checked_call_end(&here, r);
}

/* ---- relays and producers ---- */

static int relay_put(void *instance, const struct outbox_relay_row *row,
                     const struct outbox_call *call, struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    checked_call_begin(&here, c, "relay_put", call, err);
    struct outbox_relay_row *lent = checked_pages_add(&here.pages, row, sizeof *row, false);
    if (lent) {
        lent->id = checked_copy_str(&here.pages, row->id);
        lent->name = checked_copy_str(&here.pages, row->name);
        lent->config_hash = checked_copy_str(&here.pages, row->config_hash);
        lent->state = checked_copy_str(&here.pages, row->state);
        lent->version = checked_copy_str(&here.pages, row->version);
    }
    return checked_call_end(&here, CHECKED_CALL(&here, checked_store_inner(c)->relay_put(
                                                           c->inner, lent, here.call, here.err)));
}

static int relay_list(void *instance, const struct outbox_call *call,
                      struct outbox_relay_page **ret, struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    struct outbox_relay_page *page = NULL;
    checked_call_begin(&here, c, "relay_list", call, err);
    int r = CHECKED_CALL(&here,
                         checked_store_inner(c)->relay_list(c->inner, here.call, &page, here.err));
    if (r == OUTBOX_OK)
        check_page(&here, page, 0, 0);
    r = checked_call_end(&here, r);
    if (r == OUTBOX_OK)
        *ret = page;
    return r;
}

static const struct outbox_new *copy_new(struct checked_pages *pages, const struct outbox_new *row)
{
    struct outbox_new *copy = checked_pages_add(pages, row, sizeof *row, false);
    struct outbox_header *headers =
        row->n_headers
            ? checked_pages_add(pages, row->headers, row->n_headers * sizeof *headers, false)
            : NULL;
    for (uint64_t i = 0; headers && i < row->n_headers; i++) {
        headers[i].name = checked_copy_str(pages, row->headers[i].name);
        headers[i].value = checked_copy_str(pages, row->headers[i].value);
    }
    if (copy) {
        copy->id = checked_copy_str(pages, row->id);
        copy->topic = checked_copy_str(pages, row->topic);
        copy->key = checked_copy_str(pages, row->key);
        copy->payload = checked_copy_str(pages, row->payload);
        copy->headers = row->n_headers ? headers : row->headers;
    }
    return copy;
}

static int save(void *instance, const struct outbox_new *const *rows, uint64_t n,
                const struct outbox_exec *exec, const struct outbox_call *call,
                struct outbox_err *err)
{
    struct checked *c = instance;
    struct checked_call here;
    checked_call_begin(&here, c, "save", call, err);
    const struct outbox_new **lent = checked_pages_add(&here.pages, NULL, n * sizeof *lent, false);
    for (uint64_t i = 0; lent && i < n; i++)
        lent[i] = copy_new(&here.pages, rows[i]);
    return checked_call_end(
        &here, CHECKED_CALL(&here, checked_store_inner(c)->save(c->inner, lent, n, exec, here.call,
                                                                here.err)));
}

/* What the plugin lacks stays away. */
#define WATCH(operation) ops->operation = ops->operation ? operation : NULL

void checked_store_set_ops(struct outbox_store_ops *ops)
{
    ops->open = checked_life_open;
    ops->close = checked_life_close;
    ops->check = check;
    ops->schema = schema;
    ops->init = init;
    checked_batch_set_ops(ops);
    if (ops->capabilities)
        ops->capabilities = checked_life_capabilities;
    WATCH(renew);
    WATCH(wait);
    WATCH(wait_stop);
    WATCH(list);
    WATCH(requeue);
    WATCH(discard);
    WATCH(purge);
    WATCH(stats);
    WATCH(relay_put);
    WATCH(relay_list);
    WATCH(save);
}
