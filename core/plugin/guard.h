/* SPDX-License-Identifier: Apache-2.0 */
/* guard.h - the steps that are the same around every call of a plugin's operation: is the instance
 * open, has the plugin the operation, and what does its result mean. Only store.c and publisher.c
 * include it. */
#ifndef CORE_PLUGIN_GUARD_H
#define CORE_PLUGIN_GUARD_H

#include "plugin/instance.h"

/* An operation that an older plugin lacks, so that nobody else asks for a plugin's version. */
int guard_unsupported(const struct instance *instance, const char *operation,
                      struct outbox_err *err);

/* OUTBOX_OK or a class that this host knows: other negative results mean "try again". A failure
 * never comes without a text. */
int guard_result(const struct instance *instance, int r, struct outbox_err *err);

/* Returns from the calling function. `ops`: store or publisher; `err` may be NULL. */
#define GUARD_CALL(instance_, ops_, operation, err, ...)                                          \
    do {                                                                                          \
        const struct instance *i_ = (instance_);                                                  \
        if (err)                                                                                  \
            (err)->text[0] = '\0';                                                                \
        if (!i_->self)                                                                            \
            return outbox_fail(err, OUTBOX_E_BROKEN, "the " #ops_ " is closed");                  \
        if (!i_->plugin->ops.ops_.operation)                                                      \
            return guard_unsupported(i_, #operation, err);                                        \
        return guard_result(i_, i_->plugin->ops.ops_.operation(i_->self, __VA_ARGS__, err), err); \
    } while (0)

#endif
