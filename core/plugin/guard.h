/* SPDX-License-Identifier: Apache-2.0 */
/* guard.h - the steps that are the same around every call of a plugin's operation: is the instance
 * open, has the plugin the operation, and what does its result mean. For store.c and publisher.c.
 */
#pragma once

#include "plugin/instance.h"

#include <stdbool.h>

/*
 * The result of an operation: OUTBOX_OK, or a class that this host knows, with a text. `kind` is
 * store or publisher; `err` may be NULL. An operation that an older plugin lacks is
 * OUTBOX_E_NOTSUP, so that nobody else has to ask for a plugin's version.
 */
#define GUARD_CALL(instance, kind, operation, err, ...)                                            \
    guard_result(instance,                                                                         \
                 !guard_is_ready(instance, err) || !(instance)->plugin->ops.kind.operation         \
                     ? guard_refuse(instance, #operation, err)                                     \
                     : (instance)->plugin->ops.kind.operation((instance)->self, __VA_ARGS__, err), \
                 err)

/* Clears the error, too. */
bool guard_is_ready(const struct instance *instance, struct outbox_err *err);
int guard_refuse(const struct instance *instance, const char *operation, struct outbox_err *err);
int guard_result(const struct instance *instance, int r, struct outbox_err *err);
