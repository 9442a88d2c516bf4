/* SPDX-License-Identifier: Apache-2.0 */
/* backoff.h - how long to wait before trying again. Milliseconds. */
#ifndef CORE_BASE_BACKOFF_H
#define CORE_BASE_BACKOFF_H

#include <stdint.h>

/* min * 2^n, at most max; min > 0. */
int64_t backoff_ceiling(int64_t min, int64_t max, uint32_t n);

/* A message's next attempt after n charged ones: full jitter, 1 to the ceiling. */
int64_t backoff_retry(int64_t min, int64_t max, uint32_t n);

/* A server's next trial after n failed ones: the upper half of the ceiling, so that it is left
 * alone. */
int64_t backoff_pause(int64_t min, int64_t max, uint32_t n);

#endif
