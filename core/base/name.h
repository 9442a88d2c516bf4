/* SPDX-License-Identifier: Apache-2.0 */
/* name.h - what names of plugins, publishers and routes are made of. */
#pragma once

#include <outbox/helpers.h>

#include <stdbool.h>

#define NAME_RULE "names match [a-z0-9-]{1,63}"

static inline bool name_is_valid(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= 63 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

/* OUTBOX_E_CONFIG unless it is valid; `of` is what it names: "a route". */
static inline int name_check(const char *name, const char *of, struct outbox_err *err)
{
    if (name_is_valid(name))
        return OUTBOX_OK;
    return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` cannot be %s's name; " NAME_RULE, name, of);
}
