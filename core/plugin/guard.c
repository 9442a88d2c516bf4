/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/guard.h"

#include "plugin/descriptor.h"

bool guard_is_ready(const struct instance *instance, struct outbox_err *err)
{
    if (err)
        err->text[0] = '\0';
    return instance->self != NULL;
}

int guard_refuse(const struct instance *instance, const char *operation, struct outbox_err *err)
{
    if (!instance->self)
        return outbox_fail(err, OUTBOX_E_BROKEN, "the %s is closed", instance->label);
    return outbox_fail(err, OUTBOX_E_NOTSUP, "%s-%s cannot do that (%s)",
                       descriptor_kind_prefix(instance->plugin->desc.kind),
                       instance->plugin->desc.name, operation);
}

int guard_result(const struct instance *instance, int r, struct outbox_err *err)
{
    if (r >= 0)
        return OUTBOX_OK;
    if (r < OUTBOX_E_EXISTS)
        r = OUTBOX_E_RETRY; /* a class that this host does not know */
    if (err)
        err->text[sizeof err->text - 1] = '\0'; /* the plugin may have forgotten it */
    if (err && err->text[0] == '\0')
        outbox_fail(err, r, "%s-%s failed without a reason",
                    descriptor_kind_prefix(instance->plugin->desc.kind),
                    instance->plugin->desc.name);
    return r;
}
