/* SPDX-License-Identifier: Apache-2.0 */
#include "base/wakeup.h"

#include "base/clock.h"

#include <time.h>

void wakeup_init(struct wakeup *bell, int64_t poll_ms)
{
    pthread_condattr_t attr;
    pthread_mutex_init(&bell->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&bell->rung, &attr);
    pthread_cond_init(&bell->idle, &attr);
    pthread_condattr_destroy(&attr);
    bell->rings = 0;
    bell->waiting = 0;
    bell->poll_us = poll_ms * 1000;
    bell->due_us = INT64_MAX;
    bell->shut = false;
}

void wakeup_destroy(struct wakeup *bell)
{
    pthread_cond_destroy(&bell->rung);
    pthread_cond_destroy(&bell->idle);
    pthread_mutex_destroy(&bell->lock);
}

void wakeup_signal(struct wakeup *bell)
{
    pthread_mutex_lock(&bell->lock);
    /* One ring is kept even when nobody waits: whoever looks for work now may just have missed it.
     */
    if (bell->rings <= bell->waiting)
        bell->rings++;
    pthread_cond_signal(&bell->rung);
    pthread_mutex_unlock(&bell->lock);
}

void wakeup_close(struct wakeup *bell)
{
    pthread_mutex_lock(&bell->lock);
    bell->shut = true;
    pthread_cond_broadcast(&bell->rung);
    pthread_cond_broadcast(&bell->idle);
    pthread_mutex_unlock(&bell->lock);
}

static void sleep_until(pthread_cond_t *cond, struct wakeup *bell, int64_t until_us)
{
    struct timespec ts = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    if (until_us == INT64_MAX)
        pthread_cond_wait(cond, &bell->lock);
    else
        pthread_cond_timedwait(cond, &bell->lock, &ts);
}

bool wakeup_await_idle(struct wakeup *bell, int64_t until_us)
{
    pthread_mutex_lock(&bell->lock);
    while (bell->waiting == 0 && !bell->shut && clock_monotonic_us() < until_us)
        sleep_until(&bell->idle, bell, until_us);
    bool idle = bell->waiting > 0 || bell->shut;
    pthread_mutex_unlock(&bell->lock);
    return idle;
}

void wakeup_wait(struct wakeup *bell, int64_t due_us, int64_t own_us)
{
    pthread_mutex_lock(&bell->lock);
    if (due_us < bell->due_us) {
        bell->due_us = due_us;
        pthread_cond_broadcast(&bell->rung); /* others may be asleep until later */
    }
    bell->waiting++;
    pthread_cond_signal(&bell->idle);
    while (!bell->shut && bell->rings == 0) {
        int64_t until = bell->due_us < own_us ? bell->due_us : own_us;
        int64_t now = clock_monotonic_us();
        if (now >= bell->due_us) {
            bell->due_us = now + bell->poll_us; /* taken; the others wait for the next */
            break;
        }
        if (now >= own_us)
            break;
        sleep_until(&bell->rung, bell, until);
    }
    bell->waiting--;
    if (bell->rings > 0)
        bell->rings--;
    pthread_mutex_unlock(&bell->lock);
}
