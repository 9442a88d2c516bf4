/* SPDX-License-Identifier: Apache-2.0 */
/* monotonic.h - the monotonic clock, also for threads that may outlive the host. */
#pragma once

#include <limits.h>
#include <stdint.h>
#include <time.h>

static inline int64_t now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* For poll: rounded up, -1 for INT64_MAX. */
static inline int ms_until(int64_t until_us)
{
    if (until_us == INT64_MAX)
        return -1;
    int64_t ms = (until_us - now_us() + 999) / 1000;
    return ms < 0 ? 0 : ms > INT_MAX ? INT_MAX : (int)ms;
}

static inline int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
