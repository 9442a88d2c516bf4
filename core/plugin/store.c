/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/store.h"

static int open_instance(struct store *store, struct outbox_err *err)
{
    int r = instance_open(&store->instance, &store->setup, err);
    if (r < 0)
        return r;
    store->capabilities = store->instance.capabilities;
    store->broken = false;
    return OUTBOX_OK;
}

int store_open_with(struct store *store, const struct instance_setup *setup, struct outbox_err *err)
{
    *store = (struct store){.setup = *setup};
    store->setup.label = "store";
    int r = open_instance(store, err);
    store->broken = r < 0; /* the next call tries again */
    return r;
}

int store_open(struct store *store, const struct plugin *plugin, const struct outbox_cfg *cfg,
               struct log *log, struct outbox_err *err)
{
    const struct instance_setup setup = {.plugin = plugin, .cfg = cfg, .log = log};
    return store_open_with(store, &setup, err);
}

void store_close(struct store *store)
{
    instance_close(&store->instance);
    store->capabilities = 0;
    store->broken = false;
}

bool store_is_open(struct store *store, struct outbox_err *err)
{
    if (!store->broken)
        return true;
    instance_close(&store->instance);
    return open_instance(store, err) == OUTBOX_OK;
}

int store_finish(struct store *store, int r)
{
    store->broken |= r == OUTBOX_E_BROKEN && store->instance.self;
    return r;
}

int store_judge(const struct store *store, const char *operation, const void *result,
                struct outbox_err *err)
{
    return result ? OUTBOX_OK
                  : guard_defect(&store->instance, operation, err,
                                 "it returned OUTBOX_OK, and no result");
}

int store_judge_settled(const struct store *store, const uint8_t *settled, uint64_t n,
                        struct outbox_err *err)
{
    for (uint64_t i = 0; i < n; i++)
        if (settled[i] > OUTBOX_SETTLED_QUARANTINED)
            return guard_defect(&store->instance, "settle", err,
                                "it set the unknown number %d for a message", settled[i]);
    return OUTBOX_OK;
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
