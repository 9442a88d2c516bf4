/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/store.h"

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
