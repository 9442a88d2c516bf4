/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/own_pause.h"

#include "common/backoff.h"

#define PAUSE_MIN_MS 500
#define PAUSE_MAX_MS 30000
#define JUST_NOW_US INT64_C(1000000)

bool own_pause_failed(struct own_pause *p, int64_t others_us, int64_t after_ms, int64_t now_us,
                      bool *ret_told)
{
    bool just_now = others_us != 0 && now_us - others_us < JUST_NOW_US;
    bool own = (p->failed_us != 0 && others_us > p->failed_us) || (!p->passed && just_now);
    p->failed_us = now_us;
    if (!own)
        return false;
    int64_t ms = backoff_ms(PAUSE_MIN_MS, PAUSE_MAX_MS, p->failures++, BACKOFF_UPPER);
    if (after_ms > PAUSE_MAX_MS)
        after_ms = PAUSE_MAX_MS;
    p->until_us = now_us + (after_ms > ms ? after_ms : ms) * 1000;
    *ret_told = reminder_is_due(&p->reminder, now_us);
    return true;
}

void own_pause_passed(struct own_pause *p)
{
    *p = (struct own_pause){.passed = true};
}
