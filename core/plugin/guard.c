/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/guard.h"

int guard_unsupported(const struct instance *instance, const char *operation,
                      struct outbox_err *err)
{
    const struct outbox_plugin *plugin = &instance->plugin->desc;
    return outbox_fail(err, OUTBOX_E_NOTSUP, "%s-%s cannot do that (%s)",
                       plugin_kind_prefix(plugin->kind), plugin->name, operation);
}

int guard_result(const struct instance *instance, int r, struct outbox_err *err)
{
    const struct outbox_plugin *plugin = &instance->plugin->desc;
    if (r >= 0)
        return OUTBOX_OK;
    if (r < OUTBOX_E_NOTSUP)
        r = OUTBOX_E_RETRY;
    if (err && err->text[0] == '\0')
        outbox_fail(err, r, "%s-%s failed without a reason", plugin_kind_prefix(plugin->kind),
                    plugin->name);
    return r;
}
