/* SPDX-License-Identifier: Apache-2.0 */
#include "base/backoff.h"

#include "base/clock.h"

int64_t backoff_ceiling(int64_t min, int64_t max, uint32_t n)
{
    if (min >= max)
        return max;
    /* max / 2^n, because min * 2^n may not fit */
    if (n >= 62 || min > max >> n)
        return max;
    return min << n;
}

int64_t backoff_retry(int64_t min, int64_t max, uint32_t n)
{
    int64_t ceiling = backoff_ceiling(min, max, n);
    return ceiling <= 1 ? ceiling : 1 + (int64_t)clock_random((uint64_t)ceiling);
}

int64_t backoff_pause(int64_t min, int64_t max, uint32_t n)
{
    int64_t ceiling = backoff_ceiling(min, max, n);
    return ceiling / 2 + (int64_t)clock_random((uint64_t)(ceiling / 2) + 1);
}
