/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/guard.h"

#include "base/hash.h"
#include "plugin/current_call.h"

#include <outbox/helpers.h>

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>

/* ---- defects ---- */

int guard_defect(const struct instance *instance, const char *operation, struct outbox_err *err,
                 const char *fmt, ...)
{
    char what[256], plugin[INSTANCE_PLUGIN_SIZE];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    instance_plugin(instance, plugin);
    uint64_t about = hash_text(hash_text(HASH_START, instance->label), operation);
    if (log_is_due(instance->log, hash_text(hash_text(about, plugin), fmt)))
        log_event(instance->log, OUTBOX_LOG_ERROR, "a plugin is broken", "plugin", plugin,
                  "instance", instance->label, "operation", operation, "defect", what, NULL);
    return outbox_fail(err, OUTBOX_E_RETRY, "%s is broken: in `%s` %s", plugin, operation, what);
}

/* ---- before and after a call ---- */

void guard_enter(const struct instance *instance, const char *operation, int64_t timeout_ms)
{
    current_call_begin(instance, operation, timeout_ms);
}

void guard_leave(const struct instance *instance, const char *operation)
{
    struct current_call_end end = current_call_end(instance);
    char plugin[INSTANCE_PLUGIN_SIZE];
    if (end.changed_mask)
        guard_defect(instance, operation, NULL,
                     "it changed which signals the calling thread blocks; that was set back");
    if (end.told)
        log_event(instance->log, OUTBOX_LOG_WARNING, "a plugin's call came back late", "plugin",
                  instance_plugin(instance, plugin), "instance", instance->label, "operation",
                  operation, "seconds_late", LOG_NUM((end.late_ms + 500) / 1000), NULL);
}

bool guard_begin(const struct instance *instance, const char *operation, bool has,
                 const struct outbox_call *call, struct outbox_err *err)
{
    if (err)
        err->text[0] = '\0';
    if (!instance->self || !has)
        return false;
    guard_enter(instance, operation, call ? call->timeout_ms : GUARD_QUICK_MS);
    return true;
}

int guard_refuse(const struct instance *instance, const char *operation, struct outbox_err *err)
{
    if (!instance->self)
        return outbox_fail(err, OUTBOX_E_BROKEN, "the %s is closed", instance->label);
    char plugin[INSTANCE_PLUGIN_SIZE];
    return outbox_fail(err, OUTBOX_E_NOTSUP, "%s cannot do that (%s)",
                       instance_plugin(instance, plugin), operation);
}

/* ---- what a result means ---- */

static bool is_cancelled(const struct outbox_call *call)
{
    struct pollfd cancel = {.fd = call ? call->cancel_fd : -1, .events = POLLIN};
    return cancel.fd >= 0 && poll(&cancel, 1, 0) == 1 && (cancel.revents & POLLIN);
}

int guard_end(const struct instance *instance, const char *operation,
              const struct outbox_call *call, int r, struct outbox_err *err)
{
    char plugin[INSTANCE_PLUGIN_SIZE];
    guard_leave(instance, operation);
    if (r == OUTBOX_OK)
        return OUTBOX_OK;
    if (r > 0)
        return guard_defect(instance, operation, err,
                            "it returned %d, which is neither OUTBOX_OK nor negative", r);
    if (r == OUTBOX_E_CANCELLED && !is_cancelled(call))
        return guard_defect(instance, operation, err,
                            "it returned OUTBOX_E_CANCELLED, though nobody cancelled the call");
    if (r < OUTBOX_E_EXISTS)
        r = OUTBOX_E_RETRY; /* a class that this host does not know */
    if (err)
        err->text[sizeof err->text - 1] = '\0'; /* the plugin may have forgotten it */
    if (err && err->text[0] == '\0')
        outbox_fail(err, r, "%s failed without a reason", instance_plugin(instance, plugin));
    return r;
}
