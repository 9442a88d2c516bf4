/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/suspension.h"

#include "base/clock.h"
#include "common/backoff.h"
#include "common/utf8.h"

#include <string.h>

/* How long the others wait while one worker tries. */
#define PROBE_MS 1000
/* Another reason for the same outage is logged, but not each of several that alternate. */
#define REPORT_AGAIN_US INT64_C(5000000)
/* Almost a minute. */
#define REMIND_US INT64_C(55000000)
/* A failure so long after a passed check is an outage of its own. */
#define CHECK_FORGET_US INT64_C(60000000)

void suspension_init(struct suspension *s, int64_t shortest_ms, int64_t longest_ms)
{
    *s = (struct suspension){.shortest_ms = shortest_ms, .longest_ms = longest_ms};
    pthread_mutex_init(&s->lock, NULL);
}

void suspension_destroy(struct suspension *s)
{
    pthread_mutex_destroy(&s->lock);
}

int64_t suspension_enter(struct suspension *s, bool *ret_trial)
{
    int64_t wait = 0;
    bool trial = false;
    pthread_mutex_lock(&s->lock);
    if (s->failures > 0) {
        int64_t now = clock_monotonic_us();
        if (s->until_us > now)
            wait = (s->until_us - now + 999) / 1000;
        else if (s->probing)
            wait = PROBE_MS;
        else
            s->probing = trial = true;
    }
    pthread_mutex_unlock(&s->lock);
    if (ret_trial)
        *ret_trial = trial;
    return wait;
}

static int64_t next_pause_ms(struct suspension *s, int64_t after_ms)
{
    int64_t ms = after_ms;
    if (after_ms > 0)
        s->min_pause_ms = after_ms < s->longest_ms ? after_ms : s->longest_ms;
    else
        ms = backoff_ms(s->shortest_ms, s->longest_ms, s->failures, BACKOFF_UPPER);
    return ms > s->min_pause_ms ? ms : s->min_pause_ms;
}

static bool is_news(struct suspension *s, bool first, int64_t now)
{
    bool other = now - s->reported_us >= REPORT_AGAIN_US && strcmp(s->reason, s->reported) != 0;
    if (first)
        s->reminder = (struct reminder){0};
    bool again = reminder_is_due(&s->reminder, now);
    if (!other && !again)
        return false;
    s->reported_us = now;
    memcpy(s->reported, s->reason, sizeof s->reported);
    return true;
}

/*
 * Only a trial's failure makes the pause grow, not that of workers which were still under way when
 * the first one failed: with many workers one hiccup would lead to the longest pause at once. The
 * failure after a passed check counts as a trial's: what passes its check and fails at each message
 * would be tried without any pause otherwise. Long after the check it is a new outage.
 */
bool suspension_failed(struct suspension *s, int64_t after_ms, const char *reason, size_t n,
                       int64_t *ret_ms)
{
    pthread_mutex_lock(&s->lock);
    int64_t now = clock_monotonic_us();
    if (s->check_ok_us != 0 && now - s->check_ok_us > CHECK_FORGET_US)
        s->failures = 0;
    bool first = s->failures == 0;
    if (first) {
        s->since_us = clock_wall_us();
        s->began_us = now;
        s->min_pause_ms = 0;
    }
    if (first || s->probing || s->check_ok_us != 0) {
        s->until_us = now + next_pause_ms(s, after_ms) * 1000;
        if (s->failures < UINT32_MAX)
            s->failures++;
    }
    utf8_clean(reason, n, s->reason, sizeof s->reason);
    bool news = is_news(s, first, now);
    s->probing = false;
    s->check_ok_us = 0;
    *ret_ms = s->until_us > now ? (s->until_us - now + 999) / 1000 : 1;
    pthread_mutex_unlock(&s->lock);
    return news;
}

bool suspension_remind(struct suspension *s)
{
    pthread_mutex_lock(&s->lock);
    int64_t now = clock_monotonic_us();
    bool due = s->failures > 0 && s->check_ok_us == 0 && now - s->reported_us >= REMIND_US;
    if (due)
        s->reported_us = now;
    pthread_mutex_unlock(&s->lock);
    return due;
}

bool suspension_passed(struct suspension *s)
{
    pthread_mutex_lock(&s->lock);
    bool news = s->failures > 0;
    s->failures = 0;
    s->probing = false;
    s->check_ok_us = 0;
    pthread_mutex_unlock(&s->lock);
    return news;
}

void suspension_check_ok(struct suspension *s)
{
    pthread_mutex_lock(&s->lock);
    if (s->failures > 0 && s->check_ok_us == 0)
        s->check_ok_us = clock_monotonic_us();
    s->probing = false;
    pthread_mutex_unlock(&s->lock);
}

void suspension_unknown(struct suspension *s)
{
    pthread_mutex_lock(&s->lock);
    s->probing = false;
    pthread_mutex_unlock(&s->lock);
}

struct suspension_view suspension_snapshot(struct suspension *s)
{
    pthread_mutex_lock(&s->lock);
    struct suspension_view view = {.paused = s->failures > 0 && s->check_ok_us == 0,
                                   .probing = s->probing,
                                   .until_us = s->until_us,
                                   .since_us = s->since_us,
                                   .began_us = s->began_us};
    int64_t probed_us = clock_monotonic_us() + PROBE_MS * 1000;
    if (s->probing && view.until_us < probed_us)
        view.until_us = probed_us;
    memcpy(view.reason, s->reason, sizeof view.reason);
    pthread_mutex_unlock(&s->lock);
    return view;
}
