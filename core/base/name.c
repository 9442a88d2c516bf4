/* SPDX-License-Identifier: Apache-2.0 */
#include "base/name.h"

#include <outbox/helpers.h>

#include <string.h>

bool name_is_valid(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= 63 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

int name_check(const char *name, const char *of, struct outbox_err *err)
{
    if (name_is_valid(name))
        return OUTBOX_OK;
    return outbox_fail(err, OUTBOX_E_CONFIG,
                       "`%.80s` cannot be %s's name; names match [a-z0-9-]{1,63}", name, of);
}
