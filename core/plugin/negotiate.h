/* SPDX-License-Identifier: Apache-2.0 */
/* negotiate.h - does a plugin's descriptor fit this host? */
#ifndef CORE_PLUGIN_NEGOTIATE_H
#define CORE_PLUGIN_NEGOTIATE_H

#include "plugin/descriptor.h"

/*
 * Checks a descriptor and copies it: NULL, short size, wrong kind, wrong name, needs a
 * newer host, missing operations, options badly declared (bad or duplicate or reserved name,
 * unknown type, default or choices that do not fit). `kind` 0 and `name` NULL: any.
 */
int negotiate_plugin(const struct outbox_plugin *desc, uint32_t kind, const char *name,
                     struct plugin *ret, struct outbox_err *err);

#endif
