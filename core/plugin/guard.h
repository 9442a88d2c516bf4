/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard.h - the steps that are the same around every call of a plugin's operation: is the instance
 * open, has the plugin the operation, does the call return in time and with the mask of signals
 * that it found, and what does its result mean. What breaks the rules of <outbox/abi.h> is a defect
 * of the plugin: it is logged once, and the call has failed.
 */
#pragma once

#include "plugin/instance.h"

#include <stdbool.h>

/*
 * The result of an operation: OUTBOX_OK, or a class that this host knows, with a text. `kind` is
 * store, publisher or rule; `call` is the outbox_call that is among the arguments, NULL: none, the
 * operation does not block. `err` may be NULL. An operation that an older plugin lacks is
 * OUTBOX_E_NOTSUP, so that nobody else has to ask for a plugin's version.
 */
#define GUARD_CALL(instance, kind, operation, call, err, ...)                                   \
    guard_end(instance, #operation, call,                                                       \
              guard_begin(instance, #operation, (instance)->plugin->ops.kind.operation != NULL, \
                          call, err)                                                            \
                  ? (instance)->plugin->ops.kind.operation((instance)->self, __VA_ARGS__, err)  \
                  : guard_refuse(instance, #operation, err),                                    \
              err)

/* Clears the error, too. False: there is nothing to call. */
bool guard_begin(const struct instance *instance, const char *operation, bool has,
                 const struct outbox_call *call, struct outbox_err *err);
int guard_refuse(const struct instance *instance, const char *operation, struct outbox_err *err);
int guard_end(const struct instance *instance, const char *operation,
              const struct outbox_call *call, int r, struct outbox_err *err);

/* What a call that does not block may take, ms. */
#define GUARD_QUICK_MS 1000
/* Around what has no result: capabilities, close. */
void guard_enter(const struct instance *instance, const char *operation, int64_t timeout_ms);
void guard_leave(const struct instance *instance, const char *operation);

/* The plugin broke a rule in this operation: "it ..." says how, without a full stop. Logged once,
 * and again as long as that goes on. Fills *err, and returns OUTBOX_E_RETRY. */
int guard_defect(const struct instance *instance, const char *operation, struct outbox_err *err,
                 const char *fmt, ...) __attribute__((format(printf, 4, 5)));
