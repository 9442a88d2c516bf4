/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/store.h"

#include "plugin/guard.h"

int store_open(struct store *store, const struct plugin *plugin, const struct outbox_cfg *cfg,
               struct log *log, struct outbox_err *err)
{
    int r = instance_open(&store->instance, plugin, cfg, "store", log, err);
    if (r < 0)
        return r;
    uint64_t (*capabilities)(void *) = plugin->ops.store.capabilities;
    store->capabilities = capabilities ? capabilities(store->instance.self) : 0;
    return OUTBOX_OK;
}

void store_close(struct store *store)
{
    instance_close(&store->instance);
    store->capabilities = 0;
}

struct outbox_call store_call(int64_t ms, int cancel_fd)
{
    return (struct outbox_call){
        .size = sizeof(struct outbox_call),
        .timeout_ms = ms < 0            ? 0
                      : ms > UINT32_MAX ? UINT32_MAX
                                        : (uint32_t)ms,
        .cancel_fd = cancel_fd,
    };
}

int store_check(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    return GUARD_CALL(&s->instance, store, check, err, call);
}

int store_schema(struct store *s, const struct outbox_exec *exec, struct outbox_err *err)
{
    return GUARD_CALL(&s->instance, store, schema, err, exec);
}

int store_init(struct store *s, const struct outbox_call *call, struct outbox_str *ret,
               struct outbox_err *err)
{
    return GUARD_CALL(&s->instance, store, init, err, call, ret);
}

int store_claim(struct store *s, const struct outbox_claim *claim, const struct outbox_call *call,
                struct outbox_batch **ret, struct outbox_err *err)
{
    return GUARD_CALL(&s->instance, store, claim, err, claim, call, ret);
}

int store_settle(struct store *s, struct outbox_batch *batch,
                 const struct outbox_settle *const *items, uint64_t n,
                 const struct outbox_call *call, uint8_t *stale, struct outbox_err *err)
{
    return GUARD_CALL(&s->instance, store, settle, err, batch, items, n, call, stale);
}

int store_release(struct store *s, struct outbox_batch *batch, const struct outbox_call *call,
                  struct outbox_err *err)
{
    return GUARD_CALL(&s->instance, store, release, err, batch, call);
}

int store_renew(struct store *s, struct outbox_str lease, uint32_t lease_ms,
                const struct outbox_call *call, uint64_t *ret_held, struct outbox_err *err)
{
    return GUARD_CALL(&s->instance, store, renew, err, lease, lease_ms, call, ret_held);
}

int store_wait(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    return GUARD_CALL(&s->instance, store, wait, err, call);
}

int store_wait_stop(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    return GUARD_CALL(&s->instance, store, wait_stop, err, call);
}

int store_list(struct store *s, const struct outbox_filter *filter, int64_t after, uint32_t limit,
               const struct outbox_call *call, struct outbox_page **ret, struct outbox_err *err)
{
    return GUARD_CALL(&s->instance, store, list, err, filter, after, limit, call, ret);
}

int store_requeue(struct store *s, const struct outbox_filter *filter, int64_t *after,
                  uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                  struct outbox_err *err)
{
    return GUARD_CALL(&s->instance, store, requeue, err, filter, after, limit, call, ret_n);
}

int store_discard(struct store *s, const struct outbox_filter *filter, int64_t *after,
                  uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                  struct outbox_err *err)
{
    return GUARD_CALL(&s->instance, store, discard, err, filter, after, limit, call, ret_n);
}

int store_purge(struct store *s, const struct outbox_filter *filter, uint32_t limit,
                const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err)
{
    return GUARD_CALL(&s->instance, store, purge, err, filter, limit, call, ret_n);
}

int store_stats(struct store *s, struct outbox_str lane, uint32_t flags,
                const struct outbox_call *call, struct outbox_stats *ret, struct outbox_err *err)
{
    return GUARD_CALL(&s->instance, store, stats, err, lane, flags, call, ret);
}

int store_relay_put(struct store *s, const struct outbox_relay_row *row,
                    const struct outbox_call *call, struct outbox_err *err)
{
    return GUARD_CALL(&s->instance, store, relay_put, err, row, call);
}

int store_relay_list(struct store *s, const struct outbox_call *call,
                     struct outbox_relay_page **ret, struct outbox_err *err)
{
    return GUARD_CALL(&s->instance, store, relay_list, err, call, ret);
}

int store_save(struct store *s, const struct outbox_new *const *rows, uint64_t n,
               const struct outbox_exec *exec, const struct outbox_call *call,
               struct outbox_err *err)
{
    return GUARD_CALL(&s->instance, store, save, err, rows, n, exec, call);
}
