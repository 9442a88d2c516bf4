/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/checked_call.h"

#include <stdlib.h>

/* Of a call in a relay, as they take 10 us each: about those of the first six messages. */
#define APART 64

int checked_plugin_new(const struct plugin *inner, const struct checker *checker,
                       const struct plugin **ret)
{
    struct checked_plugin *plugin = calloc(1, sizeof *plugin);
    if (!plugin)
        return OUTBOX_E_RETRY;
    plugin->plugin = *inner;
    plugin->inner = inner;
    if (checker)
        plugin->checker = *checker;
    bool alone = plugin->checker.flags & CHECKER_ALONE;
    checked_vault_init(&plugin->vault, alone ? SIZE_MAX : APART);
    pthread_mutex_init(&plugin->lock, NULL);
    if (inner->desc.shared_open) {
        plugin->plugin.desc.shared_open = checked_life_shared_open;
        plugin->plugin.desc.shared_close = checked_life_shared_close;
    }
    switch (inner->desc.kind) {
    case OUTBOX_KIND_STORE:
        checked_store_set_ops(&plugin->plugin.ops.store);
        break;
    case OUTBOX_KIND_PUBLISHER:
        checked_publisher_set_ops(&plugin->plugin.ops.publisher);
        break;
    default:
        checked_rule_set_ops(&plugin->plugin.ops.rule);
    }
    *ret = &plugin->plugin;
    return OUTBOX_OK;
}

static struct checked_plugin *wrapper(const struct plugin *checked)
{
    return (struct checked_plugin *)(uintptr_t)checked; /* `plugin` is the first member */
}

void checked_plugin_free(const struct plugin *checked)
{
    struct checked_plugin *plugin = wrapper(checked);
    if (!plugin)
        return;
    checked_host_forget_all(plugin);
    checked_vault_destroy(&plugin->vault);
    pthread_mutex_destroy(&plugin->lock);
    free(plugin->told);
    free(plugin);
}

/* Of all kinds, as their tables begin alike. */
static bool is_wrapper(const struct plugin *plugin)
{
    return plugin->ops.publisher.open == checked_life_open;
}

const char *checked_rule_at(const struct plugin *plugin, const void *address)
{
    return is_wrapper(plugin) ? checked_vault_rule(&wrapper(plugin)->vault, address) : NULL;
}

const char *checked_operation(const struct plugin *plugin)
{
    return is_wrapper(plugin) ? atomic_load(&wrapper(plugin)->operation) : NULL;
}
