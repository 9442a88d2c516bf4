/* SPDX-License-Identifier: Apache-2.0 */
/* backoff.h - how long to wait before trying again: exponential, with jitter. Milliseconds. */
#pragma once

#include <stdint.h>

/* Which part of the exponential bound a wait is drawn from. */
enum backoff_jitter {
    BACKOFF_FLOOR, /* min to the next bound: a message's next attempt, so that many do not come at
                      once, and what is wrong for a while does not use up all attempts */
    BACKOFF_UPPER, /* the bound's upper half: a server's next trial, so that it gets its rest */
};

/* min * 2^n, at most max; min > 0. */
int64_t backoff_bound_ms(int64_t min, int64_t max, uint32_t n);

/* The wait after n failures before this one. */
int64_t backoff_ms(int64_t min, int64_t max, uint32_t n, enum backoff_jitter jitter);
