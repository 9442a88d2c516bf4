/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - a store instance as the core uses it: each operation goes through the guard, and one
 * that said OUTBOX_E_BROKEN is opened anew by the next call, whoever made it.
 */
#pragma once

#include "plugin/guard.h"

struct store {
    struct instance instance;
    struct instance_setup setup;
    uint64_t capabilities;
    bool broken; /* the next call opens it anew */
};

/* What is borrowed here is so until store_close. */
int store_open(struct store *store, const struct plugin *plugin, const struct outbox_cfg *cfg,
               struct log *log, struct outbox_err *err);
/* One of several instances of a section; `setup` without its label. */
int store_open_with(struct store *store, const struct instance_setup *setup,
                    struct outbox_err *err);
void store_close(struct store *store);

/* Opens it anew if it is broken. False: it cannot be opened. */
bool store_is_open(struct store *store, struct outbox_err *err);
/* Remembers that the store is broken, if that is the result of a call, which it returns. */
int store_finish(struct store *store, int r);

/* A batch belongs to the instance that claimed it, broken or not: settle and release never open
 * another one. */
#define STORE_BATCH_CALL(s, operation, call, err, ...) \
    store_finish(s, GUARD_CALL(&(s)->instance, store, operation, call, err, __VA_ARGS__))
#define STORE_CALL(s, operation, call, err, ...)                                    \
    (store_is_open(s, err) ? STORE_BATCH_CALL(s, operation, call, err, __VA_ARGS__) \
                           : OUTBOX_E_RETRY)

/* A store that says OUTBOX_OK without a result, or with a number that this host does not know. */
int store_judge(const struct store *store, const char *operation, const void *result,
                struct outbox_err *err);
int store_judge_settled(const struct store *store, const uint8_t *settled, uint64_t n,
                        struct outbox_err *err);

/* A call that ends after ms or when cancel_fd (-1: none) becomes readable. */
struct outbox_call store_call(int64_t ms, int cancel_fd);

static inline int store_check(struct store *s, const struct outbox_call *call,
                              struct outbox_err *err)
{
    return STORE_CALL(s, check, call, err, call);
}

static inline int store_schema(struct store *s, const struct outbox_exec *exec,
                               struct outbox_err *err)
{
    return STORE_CALL(s, schema, NULL, err, exec);
}

static inline int store_init(struct store *s, const struct outbox_call *call,
                             struct outbox_str *ret, struct outbox_err *err)
{
    return STORE_CALL(s, init, call, err, call, ret);
}

static inline int store_claim(struct store *s, const struct outbox_claim *claim,
                              const struct outbox_call *call, struct outbox_batch **ret,
                              struct outbox_err *err)
{
    *ret = NULL;
    int r = STORE_CALL(s, claim, call, err, claim, call, ret);
    return r < 0 ? r : store_judge(s, "claim", *ret, err);
}

static inline int store_settle(struct store *s, struct outbox_batch *batch,
                               const struct outbox_settle *const *items, uint64_t n,
                               const struct outbox_call *call, uint8_t *settled,
                               struct outbox_err *err)
{
    int r = STORE_BATCH_CALL(s, settle, call, err, batch, items, n, call, settled);
    return r < 0 ? r : store_judge_settled(s, settled, n, err);
}

static inline int store_release(struct store *s, struct outbox_batch *batch,
                                const struct outbox_call *call, struct outbox_err *err)
{
    return STORE_BATCH_CALL(s, release, call, err, batch, call);
}

static inline int store_renew(struct store *s, struct outbox_str lease, uint32_t lease_ms,
                              const struct outbox_call *call, uint64_t *ret_held,
                              struct outbox_err *err)
{
    return STORE_CALL(s, renew, call, err, lease, lease_ms, call, ret_held);
}

static inline int store_wait(struct store *s, const struct outbox_call *call,
                             struct outbox_err *err)
{
    return STORE_CALL(s, wait, call, err, call);
}

static inline int store_wait_stop(struct store *s, const struct outbox_call *call,
                                  struct outbox_err *err)
{
    return STORE_CALL(s, wait_stop, call, err, call);
}

static inline int store_list(struct store *s, const struct outbox_filter *filter, int64_t after,
                             uint32_t limit, const struct outbox_call *call,
                             struct outbox_page **ret, struct outbox_err *err)
{
    *ret = NULL;
    int r = STORE_CALL(s, list, call, err, filter, after, limit, call, ret);
    return r < 0 ? r : store_judge(s, "list", *ret, err);
}

static inline int store_requeue(struct store *s, const struct outbox_filter *filter, int64_t *after,
                                uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                                struct outbox_err *err)
{
    return STORE_CALL(s, requeue, call, err, filter, after, limit, call, ret_n);
}

static inline int store_discard(struct store *s, const struct outbox_filter *filter, int64_t *after,
                                uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                                struct outbox_err *err)
{
    return STORE_CALL(s, discard, call, err, filter, after, limit, call, ret_n);
}

static inline int store_purge(struct store *s, const struct outbox_filter *filter, uint32_t limit,
                              const struct outbox_call *call, uint64_t *ret_n,
                              struct outbox_err *err)
{
    return STORE_CALL(s, purge, call, err, filter, limit, call, ret_n);
}

static inline int store_stats(struct store *s, struct outbox_str lane, uint32_t flags,
                              const struct outbox_call *call, struct outbox_stats *ret,
                              struct outbox_err *err)
{
    return STORE_CALL(s, stats, call, err, lane, flags, call, ret);
}

static inline int store_relay_put(struct store *s, const struct outbox_relay_row *row,
                                  const struct outbox_call *call, struct outbox_err *err)
{
    return STORE_CALL(s, relay_put, call, err, row, call);
}

static inline int store_relay_list(struct store *s, const struct outbox_call *call,
                                   struct outbox_relay_page **ret, struct outbox_err *err)
{
    *ret = NULL;
    int r = STORE_CALL(s, relay_list, call, err, call, ret);
    return r < 0 ? r : store_judge(s, "relay_list", *ret, err);
}

static inline int store_save(struct store *s, const struct outbox_new *const *rows, uint64_t n,
                             const struct outbox_exec *exec, const struct outbox_call *call,
                             struct outbox_err *err)
{
    return STORE_CALL(s, save, call, err, rows, n, exec, call);
}
