/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/own_pause.h"

#include "common/backoff.h"

#define PAUSE_MIN_MS 500
/* Short enough for heartbeats to the other publishers. */
#define PAUSE_MAX_MS 5000
#define JUST_NOW_US INT64_C(1000000)

bool own_pause_begin(struct own_pause *p, int64_t after_ms, int64_t now_us)
{
    int64_t ms = backoff_ms(PAUSE_MIN_MS, PAUSE_MAX_MS, p->failures++, BACKOFF_UPPER);
    if (after_ms > PAUSE_MAX_MS)
        after_ms = PAUSE_MAX_MS;
    p->failed_us = now_us;
    p->until_us = now_us + (after_ms > ms ? after_ms : ms) * 1000;
    return reminder_is_due(&p->reminder, now_us);
}

bool own_pause_failed(struct own_pause *p, int64_t others_us, int64_t after_ms, int64_t now_us,
                      bool *ret_told)
{
    bool just_now = others_us != 0 && now_us - others_us < JUST_NOW_US;
    bool own = (p->failed_us != 0 && others_us > p->failed_us) || (!p->passed && just_now);
    p->failed_us = now_us;
    if (own)
        *ret_told = own_pause_begin(p, after_ms, now_us);
    return own;
}

void own_pause_passed(struct own_pause *p)
{
    *p = (struct own_pause){.passed = true};
}
