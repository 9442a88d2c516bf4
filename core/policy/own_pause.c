/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/own_pause.h"

#include "common/backoff.h"

#define PAUSE_MIN_MS 500
/* Short enough for heartbeats to the other publishers. */
#define PAUSE_MAX_MS 5000

bool own_pause_begin(struct own_pause *p, int64_t now_us)
{
    p->failed_us = now_us;
    p->until_us =
        now_us + backoff_ms(PAUSE_MIN_MS, PAUSE_MAX_MS, p->failures++, BACKOFF_UPPER) * 1000;
    return reminder_is_due(&p->reminder, now_us);
}

bool own_pause_failed(struct own_pause *p, int64_t others_us, int64_t now_us, bool *ret_told)
{
    bool own = p->failed_us != 0 && others_us > p->failed_us;
    p->failed_us = now_us;
    if (own)
        *ret_told = own_pause_begin(p, now_us);
    return own;
}

void own_pause_passed(struct own_pause *p)
{
    *p = (struct own_pause){0};
}
