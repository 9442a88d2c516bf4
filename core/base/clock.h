/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h - monotonic time for deadlines, wall time for logs. Microseconds. */
#ifndef CORE_BASE_CLOCK_H
#define CORE_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_monotonic_us(void);
int64_t clock_wall_us(void);

#endif
