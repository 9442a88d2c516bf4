/* SPDX-License-Identifier: Apache-2.0 */
#include "common/rfc3339.h"

#include <stdio.h>
#include <time.h>

#define YEAR_0 (-62167219200LL)
#define YEAR_9999_END 253402300799LL

const char *rfc3339_format(int64_t us, char out[RFC3339_SIZE])
{
    int64_t seconds = us / 1000000;
    int64_t fraction = us % 1000000;
    if (fraction < 0) {
        fraction += 1000000;
        seconds--;
    }
    if (seconds < YEAR_0)
        seconds = YEAR_0;
    if (seconds > YEAR_9999_END)
        seconds = YEAR_9999_END;
    time_t t = (time_t)seconds;
    struct tm tm = {0};
    gmtime_r(&t, &tm);
    /* strftime's %Y does not pad years before 1000. */
    size_t n = (size_t)snprintf(out, RFC3339_SIZE, "%04d", tm.tm_year + 1900);
    n += strftime(out + n, RFC3339_SIZE - n, "-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, RFC3339_SIZE - n, ".%06dZ", (int)fraction);
    return out;
}
