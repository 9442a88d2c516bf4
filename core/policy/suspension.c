/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/suspension.h"

#include "base/clock.h"
#include "common/backoff.h"
#include "common/utf8.h"

#include <string.h>

/* How long others keep off while one worker tries. */
#define PROBE_MS 1000
/* Another reason for the same outage is told, but not each of several that take turns. */
#define NEWS_MS 5000
/* What fails so much later than it said that it was in order, fails anew. */
#define ASKED_FORGET_MS 60000
/* A publisher may ask for a longer pause than ours, but not for ever. */
#define AFTER_MAX_MS 300000

void suspension_init(struct suspension *pause)
{
    memset(pause, 0, sizeof *pause);
    pthread_mutex_init(&pause->lock, NULL);
}

void suspension_destroy(struct suspension *pause)
{
    pthread_mutex_destroy(&pause->lock);
}

int64_t suspension_enter(struct suspension *pause, bool *ret_trial)
{
    int64_t wait = 0;
    bool trial = false;
    pthread_mutex_lock(&pause->lock);
    if (pause->failures > 0) {
        int64_t now = clock_monotonic_us();
        if (pause->until_us > now)
            wait = (pause->until_us - now + 999) / 1000;
        else if (pause->probing)
            wait = PROBE_MS;
        else
            pause->probing = trial = true;
    }
    pthread_mutex_unlock(&pause->lock);
    if (ret_trial)
        *ret_trial = trial;
    return wait;
}

bool suspension_failed(struct suspension *pause, int64_t after_ms, const char *reason, size_t n,
                       int64_t *ret_ms)
{
    pthread_mutex_lock(&pause->lock);
    int64_t now = clock_monotonic_us();
    bool asked = pause->asked_us != 0;
    if (asked && now - pause->asked_us > ASKED_FORGET_MS * INT64_C(1000))
        pause->failures = 0;
    bool first = pause->failures == 0;
    /* Workers that were under way when the first one failed must not make it grow. */
    bool counted = first || pause->probing || asked;
    if (first) {
        pause->since_us = clock_wall_us();
        pause->began_us = now;
        pause->least_ms = 0;
    }
    if (counted) {
        int64_t ms = after_ms > AFTER_MAX_MS ? AFTER_MAX_MS
                     : after_ms > 0
                         ? after_ms
                         : backoff_ms(PAUSE_MIN_MS, PAUSE_MAX_MS, pause->failures, BACKOFF_UPPER);
        if (after_ms > 0)
            pause->least_ms = after_ms < PAUSE_MAX_MS ? after_ms : PAUSE_MAX_MS;
        ms = ms < pause->least_ms ? pause->least_ms : ms;
        pause->until_us = now + ms * 1000;
        if (pause->failures < UINT32_MAX)
            pause->failures++;
    }
    utf8_clean(reason, n, pause->reason, sizeof pause->reason);
    bool news = first || pause->told_back ||
                (now - pause->told_us >= NEWS_MS * 1000 && strcmp(pause->reason, pause->told) != 0);
    if (news) {
        pause->told_us = now;
        memcpy(pause->told, pause->reason, sizeof pause->told);
    }
    pause->probing = pause->told_back = false;
    pause->asked_us = 0;
    *ret_ms = pause->until_us > now ? (pause->until_us - now + 999) / 1000 : 1;
    pthread_mutex_unlock(&pause->lock);
    return news;
}

bool suspension_passed(struct suspension *pause)
{
    pthread_mutex_lock(&pause->lock);
    bool was = pause->failures > 0 && !pause->told_back;
    pause->failures = 0;
    pause->probing = pause->told_back = false;
    pause->asked_us = 0;
    pthread_mutex_unlock(&pause->lock);
    return was;
}

bool suspension_check_ok(struct suspension *pause, bool tells)
{
    pthread_mutex_lock(&pause->lock);
    bool was = pause->failures > 0 && pause->asked_us == 0;
    if (was) {
        pause->asked_us = clock_monotonic_us();
        pause->told_back = tells;
    }
    pause->probing = false;
    pthread_mutex_unlock(&pause->lock);
    return was;
}

void suspension_unknown(struct suspension *pause)
{
    pthread_mutex_lock(&pause->lock);
    pause->probing = false;
    pthread_mutex_unlock(&pause->lock);
}

struct suspension_view suspension_snapshot(struct suspension *pause)
{
    pthread_mutex_lock(&pause->lock);
    struct suspension_view view = {.paused = pause->failures > 0 && pause->asked_us == 0,
                                   .probing = pause->probing,
                                   .until_us = pause->until_us,
                                   .since_us = pause->since_us,
                                   .began_us = pause->began_us};
    int64_t probed_us = clock_monotonic_us() + PROBE_MS * 1000;
    if (pause->probing && view.until_us < probed_us)
        view.until_us = probed_us;
    memcpy(view.reason, pause->reason, sizeof view.reason);
    pthread_mutex_unlock(&pause->lock);
    return view;
}
