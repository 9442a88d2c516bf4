/* SPDX-License-Identifier: Apache-2.0 */
#include "common/failpoint.h"

#ifdef OUTBOX_CRASH_POINTS
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void failpoint(const char *name)
{
    static _Atomic long
        passed; /* each plugin has its own, and all points of a name are in one plugin */
    const char *at = getenv("OUTBOX_CRASH_AT");
    size_t n = strlen(name);
    if (!at || strncmp(at, name, n) != 0 || (at[n] && at[n] != ':'))
        return;
    if (++passed == (at[n] ? strtol(at + n + 1, NULL, 10) : 1))
        kill(getpid(), SIGKILL);
}
#else
/* A translation unit is not empty. */
typedef int failpoints_are_off;
#endif
