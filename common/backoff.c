/* SPDX-License-Identifier: Apache-2.0 */
#include "common/backoff.h"

#include <sys/random.h>
#include <time.h>

/* Uniform in [0, bound]. Only a kernel before 3.17 or a seccomp filter lets getrandom fail; the
 * jitter comes from the clock then. */
static int64_t draw(int64_t bound)
{
    uint64_t n;
    if (getrandom(&n, sizeof n, 0) != (ssize_t)sizeof n) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        n = (uint64_t)now.tv_nsec * UINT64_C(0x9E3779B97F4A7C15);
    }
    return (int64_t)(n % ((uint64_t)bound + 1));
}

int64_t backoff_bound_ms(int64_t min, int64_t max, uint32_t n)
{
    /* max / 2^n, because min * 2^n may not fit */
    return n >= 62 || min > max >> n ? max : min << n;
}

int64_t backoff_ms(int64_t min, int64_t max, uint32_t n, enum backoff_jitter jitter)
{
    int64_t bound = backoff_bound_ms(min, max, n);
    if (jitter == BACKOFF_UPPER)
        return bound / 2 + draw(bound - bound / 2);
    int64_t next = backoff_bound_ms(bound, max, 1), least = min < next ? min : next;
    return least + draw(next - least);
}
