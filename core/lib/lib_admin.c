/* SPDX-License-Identifier: Apache-2.0 */
/* lib_admin.c - liboutbox: what is in a store, and what becomes of it. */
#include "base/clock.h"
#include "lib/liboutbox.h"

#include <outbox/helpers.h>

#include <uuid.h>

/* Rows of a page or a batch: so few that producers hardly notice. */
#define BATCH 500

/* A call that ends with the caller's time, of which at least a millisecond is left. */
static struct outbox_call call_until(int64_t until_us)
{
    int64_t left_ms = (until_us - clock_monotonic_us()) / 1000;
    return store_call(left_ms > 0 ? left_ms : 1, -1);
}

static int64_t end_of(uint32_t timeout_ms)
{
    return clock_monotonic_us() + (int64_t)timeout_ms * 1000;
}

/* The caller's filter; NULL: all rows. */
static int take_filter(const struct outbox_filter *given, struct outbox_filter *ret,
                       struct outbox_err *err)
{
    *ret = (struct outbox_filter){.size = sizeof *ret};
    return given ? lib_take("outbox_filter", given, sizeof *given, sizeof *ret, ret, err)
                 : OUTBOX_OK;
}

/* ---- reading ---- */

/* *ret_n: how many rows fn got. */
static int list(struct store *store, const struct outbox_filter *filter, uint64_t limit,
                uint32_t timeout_ms, outbox_row_fn fn, void *ctx, uint64_t *ret_n,
                struct outbox_err *err)
{
    int64_t until_us = end_of(timeout_ms), after = INT64_MIN;
    struct outbox_page *page;
    *ret_n = 0;
    do {
        uint64_t left = limit ? limit - *ret_n : BATCH;
        struct outbox_call call = call_until(until_us);
        int r = store_list(store, filter, after, (uint32_t)(left < BATCH ? left : BATCH), &call,
                           &page, err);
        if (r < 0)
            return r;
        int64_t began_us = clock_monotonic_us();
        for (uint32_t i = 0; i < page->n; i++) {
            after = page->rows[i]->message->seq;
            ++*ret_n;
            if (fn(ctx, page->rows[i]) != 0)
                return OUTBOX_OK;
        }
        until_us += clock_monotonic_us() - began_us;
    } while (page->n > 0 && (limit == 0 || *ret_n < limit));
    return OUTBOX_OK;
}

OUTBOX_EXPORT int outbox_store_list(struct outbox_store *s, const struct outbox_filter *filter,
                                    uint64_t limit, uint32_t timeout_ms, outbox_row_fn fn,
                                    void *ctx, struct outbox_err *err)
{
    struct outbox_filter rows;
    struct lib_store_instance *instance;
    uint64_t n;
    int r = take_filter(filter, &rows, err);
    if (r == 0)
        r = lib_store_enter(s, &instance, err);
    if (r < 0)
        return r;
    r = list(&instance->store, &rows, limit, timeout_ms, fn, ctx, &n, err);
    lib_store_leave(s, instance);
    return r;
}

/* A UUID may be given in capitals; the stores have it in lower case. */
OUTBOX_EXPORT int outbox_store_show(struct outbox_store *s, const char *id, uint32_t timeout_ms,
                                    outbox_row_fn fn, void *ctx, struct outbox_err *err)
{
    char lower[UUID_STR_LEN];
    uuid_t uuid;
    struct outbox_str ids[2] = {outbox_cstr(id)};
    const struct outbox_filter filter = {
        .size = sizeof filter, .ids = ids, .n_ids = uuid_parse(id, uuid) == 0 ? 2 : 1};
    struct lib_store_instance *instance;
    uint64_t n;
    if (filter.n_ids == 2) {
        uuid_unparse_lower(uuid, lower);
        ids[1] = outbox_cstr(lower);
    }
    int r = lib_store_enter(s, &instance, err);
    if (r < 0)
        return r;
    r = list(&instance->store, &filter, 0, timeout_ms, fn, ctx, &n, err);
    lib_store_leave(s, instance);
    return r == 0 && n == 0
               ? outbox_fail(err, OUTBOX_E_CONFIG, "there is no message with the id %.60s", id)
               : r;
}

OUTBOX_EXPORT int outbox_store_stats(struct outbox_store *s, int exact, uint32_t timeout_ms,
                                     struct outbox_stats *ret, struct outbox_err *err)
{
    struct outbox_stats stats = {.size = sizeof stats};
    struct outbox_call call = store_call(timeout_ms, -1);
    struct lib_store_instance *instance;
    int r = lib_give("outbox_stats", &stats, sizeof stats, ret, err);
    if (r == 0)
        r = lib_store_enter(s, &instance, err);
    if (r < 0)
        return r;
    r = store_stats(&instance->store, outbox_cstr(NULL), exact ? OUTBOX_STATS_EXACT : 0, &call,
                    &stats, err);
    lib_store_leave(s, instance);
    return r < 0 ? r : lib_give("outbox_stats", &stats, sizeof stats, ret, err);
}

/* ---- changing ---- */

typedef int (*change_fn)(struct store *store, const struct outbox_filter *filter, int64_t *after,
                         uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                         struct outbox_err *err);

static int change(struct outbox_store *s, const struct outbox_filter *filter, uint32_t timeout_ms,
                  change_fn fn, uint64_t *ret_n, struct outbox_err *err)
{
    int64_t until_us = end_of(timeout_ms), after = INT64_MIN;
    struct outbox_filter rows;
    struct lib_store_instance *instance;
    uint64_t n, all = 0;
    if (ret_n)
        *ret_n = 0;
    int r = take_filter(filter, &rows, err);
    if (r == 0)
        r = lib_store_enter(s, &instance, err);
    if (r < 0)
        return r;
    do {
        struct outbox_call call = call_until(until_us);
        n = 0;
        r = fn(&instance->store, &rows, &after, BATCH, &call, &n, err);
        all += r < 0 ? 0 : n;
        if (r == 0 && n > 0 && clock_monotonic_us() >= until_us)
            r = outbox_fail(err, OUTBOX_E_TIMEOUT, "there may be more than %llu rows",
                            (unsigned long long)all);
    } while (r == 0 && n > 0);
    lib_store_leave(s, instance);
    if (ret_n)
        *ret_n = all;
    return r;
}

OUTBOX_EXPORT int outbox_store_requeue(struct outbox_store *s, const struct outbox_filter *filter,
                                       uint32_t timeout_ms, uint64_t *ret_n, struct outbox_err *err)
{
    return change(s, filter, timeout_ms, store_requeue, ret_n, err);
}

OUTBOX_EXPORT int outbox_store_discard(struct outbox_store *s, const struct outbox_filter *filter,
                                       uint32_t timeout_ms, uint64_t *ret_n, struct outbox_err *err)
{
    return change(s, filter, timeout_ms, store_discard, ret_n, err);
}

/* It needs no cursor: what it changed is gone. */
static int purge(struct store *store, const struct outbox_filter *filter, int64_t *after,
                 uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                 struct outbox_err *err)
{
    (void)after;
    return store_purge(store, filter, limit, call, ret_n, err);
}

OUTBOX_EXPORT int outbox_store_purge(struct outbox_store *s, const struct outbox_filter *filter,
                                     uint32_t timeout_ms, uint64_t *ret_n, struct outbox_err *err)
{
    uint32_t statuses = filter ? filter->statuses : 0;
    if (ret_n)
        *ret_n = 0;
    if (statuses == 0 || (statuses & ~(OUTBOX_PROCESSED | OUTBOX_FAILED)))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "a purge needs a filter with the statuses OUTBOX_PROCESSED or "
                           "OUTBOX_FAILED; nothing else can be deleted");
    return change(s, filter, timeout_ms, purge, ret_n, err);
}
