/* SPDX-License-Identifier: Apache-2.0 */
/* name.h - what names of plugins, publishers and routes are made of: [a-z0-9-]{1,63}. */
#ifndef CORE_BASE_NAME_H
#define CORE_BASE_NAME_H

#include <outbox/abi.h>

#include <stdbool.h>

bool name_is_valid(const char *name);

/* OUTBOX_E_CONFIG unless it is valid; `of` is what it names: "a route". */
int name_check(const char *name, const char *of, struct outbox_err *err);

#endif
