/* SPDX-License-Identifier: Apache-2.0 */
#include "base/wakeup.h"

#include "base/clock.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

void wakeup_init(struct wakeup *wakeup, int64_t poll_ms)
{
    pthread_condattr_t attr;
    *wakeup = (struct wakeup){.poll_us = poll_ms * 1000,
                              .due_us = INT64_MAX,
                              .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    pthread_mutex_init(&wakeup->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&wakeup->signalled, &attr);
    pthread_cond_init(&wakeup->idle, &attr);
    pthread_condattr_destroy(&attr);
}

void wakeup_destroy(struct wakeup *wakeup)
{
    close(wakeup->fd);
    pthread_cond_destroy(&wakeup->signalled);
    pthread_cond_destroy(&wakeup->idle);
    pthread_mutex_destroy(&wakeup->lock);
}

/* Under the lock: waiters look again, one or all of them; those that poll, all. */
static void wake(struct wakeup *wakeup, bool all)
{
    if (wakeup->polling > 0)
        eventfd_write(wakeup->fd, 1);
    if (all)
        pthread_cond_broadcast(&wakeup->signalled);
    else
        pthread_cond_signal(&wakeup->signalled);
}

void wakeup_signal(struct wakeup *wakeup)
{
    pthread_mutex_lock(&wakeup->lock);
    /* One more than there are waiters: a worker that is looking at the store now may just have
     * missed the message. */
    if (wakeup->signals <= wakeup->waiting)
        wakeup->signals++;
    wake(wakeup, false);
    pthread_mutex_unlock(&wakeup->lock);
}

void wakeup_close(struct wakeup *wakeup)
{
    pthread_mutex_lock(&wakeup->lock);
    wakeup->closed = true;
    wake(wakeup, true);
    pthread_cond_broadcast(&wakeup->idle);
    pthread_mutex_unlock(&wakeup->lock);
}

static void sleep_until(pthread_cond_t *cond, struct wakeup *wakeup, int64_t until_us)
{
    struct timespec ts = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    if (until_us == INT64_MAX)
        pthread_cond_wait(cond, &wakeup->lock);
    else
        pthread_cond_timedwait(cond, &wakeup->lock, &ts);
}

/* The same for one that polls. True: one of its own descriptors is ready. */
static bool poll_until(struct wakeup *wakeup, int64_t until_us, struct pollfd *fds, size_t n)
{
    eventfd_t ignored;
    int64_t ms = (until_us - clock_monotonic_us() + 999) / 1000;
    fds[0] = (struct pollfd){.fd = wakeup->fd, .events = POLLIN};
    wakeup->polling++;
    pthread_mutex_unlock(&wakeup->lock);
    int ready = poll(fds, n, ms > 60000 ? 60000 : ms < 0 ? 0 : (int)ms);
    pthread_mutex_lock(&wakeup->lock);
    wakeup->polling--;
    if (ready > 0 && fds[0].revents == 0)
        return true;
    if (wakeup->signals == 0 && !wakeup->closed)
        eventfd_read(wakeup->fd, &ignored);
    return ready > (fds[0].revents != 0);
}

bool wakeup_await_idle(struct wakeup *wakeup, int64_t until_us)
{
    pthread_mutex_lock(&wakeup->lock);
    while (wakeup->waiting == 0 && !wakeup->closed && clock_monotonic_us() < until_us)
        sleep_until(&wakeup->idle, wakeup, until_us);
    bool idle = wakeup->waiting > 0 || wakeup->closed;
    pthread_mutex_unlock(&wakeup->lock);
    return idle;
}

/*
 * All waiters share one due time, so that many idle workers ask the store no more often than one
 * would. The first waiter that wakes at that time takes it for all, by moving it on by a poll
 * interval; the others sleep on. A waiter that brings an earlier time has to wake the others,
 * which may be asleep until a later one.
 */
bool wakeup_wait(struct wakeup *wakeup, int64_t due_us, int64_t own_us)
{
    return wakeup_poll(wakeup, due_us, own_us, NULL, 0);
}

bool wakeup_poll(struct wakeup *wakeup, int64_t due_us, int64_t own_us, struct pollfd *fds,
                 size_t n)
{
    bool own = false;
    pthread_mutex_lock(&wakeup->lock);
    int64_t now = clock_monotonic_us();
    if (due_us > now + wakeup->poll_us)
        due_us = now + wakeup->poll_us;
    if (due_us < wakeup->due_us) {
        wakeup->due_us = due_us;
        wake(wakeup, true);
    }
    wakeup->waiting++;
    pthread_cond_signal(&wakeup->idle);
    for (; !wakeup->closed && wakeup->signals == 0; now = clock_monotonic_us()) {
        if (own)
            break;
        if (now >= wakeup->due_us) {
            wakeup->due_us = now + wakeup->poll_us;
            break;
        }
        if ((own = now >= own_us))
            break;
        int64_t until_us = wakeup->due_us < own_us ? wakeup->due_us : own_us;
        if (fds)
            own = poll_until(wakeup, until_us, fds, n);
        else
            sleep_until(&wakeup->signalled, wakeup, until_us);
    }
    wakeup->waiting--;
    bool signalled = wakeup->signals > 0;
    wakeup->signals -= signalled;
    pthread_mutex_unlock(&wakeup->lock);
    return signalled || !own;
}
