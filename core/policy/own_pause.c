/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/own_pause.h"

#include "common/backoff.h"

#define PAUSE_MIN_MS 500
#define PAUSE_MAX_MS 30000

bool own_pause_failed(struct own_pause *p, int64_t others_us, int64_t now_us, bool *ret_told)
{
    bool own = p->failed_us != 0 && others_us > p->failed_us;
    p->failed_us = now_us;
    if (!own)
        return false;
    p->until_us =
        now_us + backoff_ms(PAUSE_MIN_MS, PAUSE_MAX_MS, p->failures++, BACKOFF_UPPER) * 1000;
    *ret_told = reminder_is_due(&p->reminder, now_us);
    return true;
}

void own_pause_passed(struct own_pause *p)
{
    *p = (struct own_pause){0};
}
