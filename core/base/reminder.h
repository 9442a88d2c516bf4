/* SPDX-License-Identifier: Apache-2.0 */
/* reminder.h - what lasts is told again after a minute, then after two, four, ... and each hour. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define REMINDER_FIRST_US INT64_C(60000000)
#define REMINDER_LONGEST_US INT64_C(3600000000)

/* Zeroed: it was not told yet. One thread, or under a lock of its owner. */
struct reminder {
    int64_t next_us; /* monotonic */
    int64_t pause_us;
};

/* Is it to be told now? The first time it is. */
static inline bool reminder_is_due(struct reminder *r, int64_t now_us)
{
    if (r->pause_us && now_us < r->next_us)
        return false;
    r->pause_us = r->pause_us ? r->pause_us * 2 : REMINDER_FIRST_US;
    if (r->pause_us > REMINDER_LONGEST_US)
        r->pause_us = REMINDER_LONGEST_US;
    r->next_us = now_us + r->pause_us;
    return true;
}
