/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/activity.h"

#include "base/clock.h"

void activity_init(struct activity *a)
{
    *a = (struct activity){.now = {.step = ACTIVITY_IDLE}};
    pthread_mutex_init(&a->lock, NULL);
    activity_begin(a, ACTIVITY_IDLE, 0);
}

void activity_destroy(struct activity *a)
{
    pthread_mutex_destroy(&a->lock);
}

void activity_begin(struct activity *a, enum activity_step step, size_t publisher)
{
    pthread_mutex_lock(&a->lock);
    a->now.step = step;
    a->now.publisher = publisher;
    a->now.since_us = clock_monotonic_us();
    a->now.since_wall_us = clock_wall_us();
    if (step == ACTIVITY_IDLE)
        a->now.moved_us = a->now.since_us;
    pthread_mutex_unlock(&a->lock);
}

void activity_wait(struct activity *a, size_t publisher, int64_t since_us)
{
    pthread_mutex_lock(&a->lock);
    a->now.step = ACTIVITY_PUBLISHING;
    a->now.publisher = publisher;
    a->now.since_us = since_us;
    a->now.since_wall_us = clock_wall_us() - (clock_monotonic_us() - since_us);
    pthread_mutex_unlock(&a->lock);
}

void activity_moved(struct activity *a)
{
    pthread_mutex_lock(&a->lock);
    a->now.moved_us = clock_monotonic_us();
    a->now.moved_wall_us = clock_wall_us();
    pthread_mutex_unlock(&a->lock);
}

void activity_note(struct activity_done *done)
{
    done->us = clock_monotonic_us();
    done->wall_us = clock_wall_us();
}

struct activity_view activity_snapshot(struct activity *a)
{
    pthread_mutex_lock(&a->lock);
    struct activity_view view = a->now;
    pthread_mutex_unlock(&a->lock);
    return view;
}

bool activity_is_slow(const struct activity_view *view, int64_t now_us)
{
    return view->step != ACTIVITY_IDLE && now_us - view->since_us >= ACTIVITY_SLOW_US;
}

bool activity_is_stalled(const struct activity_view *view, int64_t now_us)
{
    return view->step != ACTIVITY_IDLE && now_us - view->moved_us >= ACTIVITY_STALLED_US;
}

const char *activity_name(enum activity_step step)
{
    static const char *const names[] = {"idle",     "claiming",  "publishing", "checking",
                                        "settling", "releasing", "closing",    "closing"};
    return names[step];
}

const char *activity_verb(enum activity_step step)
{
    static const char *const verbs[] = {
        "is idle", "claims",   "publishes to", "checks",
        "settles", "releases", "closes",       "closes its rules and its store"};
    return verbs[step];
}
