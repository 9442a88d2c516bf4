/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/watchdog.h"

#include "common/signals.h"
#include "connection/monotonic.h"

#include <outbox/abi.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

void watchdog_init(struct watchdog *w)
{
    *w = (struct watchdog){.wake_fd = -1, .fd = -1, .cancel_fd = -1, .sleep_cancel_fd = -1};
    pthread_mutex_init(&w->lock, NULL);
}

static bool is_readable(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) > 0;
}

/* Under the lock: shuts the socket down if it is time, and decides how long to sleep then. */
static void update(struct watchdog *w, bool cancel)
{
    int64_t now = now_us();
    /* The descriptor that the thread saw may be that of an earlier call, so it is polled again. */
    if (w->armed && cancel && !w->cancelled && is_readable(w->cancel_fd)) {
        w->cancelled = true;
        if (w->deadline_us > now + w->grace_us)
            w->deadline_us = now + w->grace_us;
    }
    if (w->armed && now >= w->deadline_us) {
        if (w->fd >= 0)
            shutdown(w->fd, SHUT_RDWR);
        w->fired = w->fired || w->fd >= 0;
        /* Should another socket come to be watched, its time is over too. */
        w->deadline_us = now + 10000;
    }
    w->sleep_until_us = w->armed ? w->deadline_us : INT64_MAX;
    w->sleep_cancel_fd = w->armed && !w->cancelled ? w->cancel_fd : -1;
}

static void *run(void *arg)
{
    struct watchdog *w = arg;
    uint64_t woken;
    pthread_mutex_lock(&w->lock);
    update(w, false);
    while (!w->quit) {
        struct pollfd fds[] = {{.fd = w->wake_fd, .events = POLLIN},
                               {.fd = w->sleep_cancel_fd, .events = POLLIN}};
        int ms = ms_until(w->sleep_until_us);
        pthread_mutex_unlock(&w->lock);
        int n = poll(fds, 2, ms);
        if (n > 0 && fds[0].revents && read(fds[0].fd, &woken, sizeof woken) < 0 && errno != EAGAIN)
            abort();
        pthread_mutex_lock(&w->lock);
        update(w, n > 0 && fds[1].revents);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void wake(struct watchdog *w)
{
    uint64_t one = 1;
    if (write(w->wake_fd, &one, sizeof one) < 0 && errno != EAGAIN)
        abort();
}

static int start(struct watchdog *w)
{
    sigset_t before;
    w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->wake_fd < 0)
        return OUTBOX_E_RETRY;
    signals_block(&before); /* signals are for the host's threads */
    int error = pthread_create(&w->thread, NULL, run, w);
    w->started = error == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (w->started)
        return OUTBOX_OK;
    close(w->wake_fd);
    w->wake_fd = -1;
    errno = error;
    return OUTBOX_E_RETRY;
}

int watchdog_arm(struct watchdog *w, int64_t deadline_us, int cancel_fd, int64_t grace_us)
{
    if (!w->started && start(w) < 0)
        return OUTBOX_E_RETRY;
    pthread_mutex_lock(&w->lock);
    w->armed = true;
    w->cancelled = w->fired = false;
    w->deadline_us = deadline_us;
    w->cancel_fd = cancel_fd;
    w->grace_us = grace_us;
    /* Usually the thread wakes early enough by itself, so that arming it costs nothing. */
    if (w->sleep_until_us > deadline_us || w->sleep_cancel_fd != cancel_fd)
        wake(w);
    pthread_mutex_unlock(&w->lock);
    return OUTBOX_OK;
}

void watchdog_watch(struct watchdog *w, int fd)
{
    pthread_mutex_lock(&w->lock);
    w->fd = fd;
    pthread_mutex_unlock(&w->lock);
}

void watchdog_disarm(struct watchdog *w)
{
    pthread_mutex_lock(&w->lock);
    w->armed = false;
    pthread_mutex_unlock(&w->lock);
}

bool watchdog_has_fired(struct watchdog *w)
{
    pthread_mutex_lock(&w->lock);
    bool fired = w->fired;
    pthread_mutex_unlock(&w->lock);
    return fired;
}

void watchdog_destroy(struct watchdog *w)
{
    if (w->started) {
        pthread_mutex_lock(&w->lock);
        w->quit = true;
        wake(w);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
        close(w->wake_fd);
    }
    pthread_mutex_destroy(&w->lock);
}
