/* SPDX-License-Identifier: Apache-2.0 */
#include "common/timed_call.h"

#include <outbox/abi.h>

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* How long timed_call_free waits, ms: a plugin's close returns within a second. */
#define FREE_MS 800

struct timed_call {
    pthread_mutex_t lock;
    pthread_cond_t stopped; /* running became false */
    int refs;               /* the owner's, and the thread's */
    int ended_fd;           /* readable: work has returned */
    bool running;           /* until the thread has let go of everything */
    bool returned;          /* work has, and somebody waited for it */
    bool left;              /* nobody waits any more */
    void (*work)(void *);
    void (*drop)(void *);
    void *arg;
    /* The owner's: waited for to its very end, since libraries keep things for each thread that go
     * only then. */
    pthread_t thread;
    bool joinable;
};

struct timed_call *timed_call_new(void)
{
    struct timed_call *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (b->ended_fd < 0) {
        free(b);
        return NULL;
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->stopped, &attr);
    pthread_condattr_destroy(&attr);
    b->refs = 1;
    return b;
}

static void unref(struct timed_call *b)
{
    pthread_mutex_lock(&b->lock);
    bool last = --b->refs == 0;
    pthread_mutex_unlock(&b->lock);
    if (!last)
        return;
    close(b->ended_fd);
    pthread_cond_destroy(&b->stopped);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

/* One that has nothing left to do but to end. */
static void join(struct timed_call *b)
{
    if (b->joinable)
        pthread_join(b->thread, NULL);
    b->joinable = false;
}

static void free_until(struct timed_call *b, const struct timespec *until)
{
    if (!b)
        return;
    pthread_mutex_lock(&b->lock);
    while (b->running && pthread_cond_timedwait(&b->stopped, &b->lock, until) == 0)
        ;
    bool running = b->running;
    pthread_mutex_unlock(&b->lock);
    if (b->joinable && running)
        pthread_detach(b->thread);
    else
        join(b);
    unref(b);
}

void timed_call_free_all(struct timed_call *const *all, size_t n)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += FREE_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    for (size_t i = 0; i < n; i++)
        free_until(all[i], &until);
}

void timed_call_free(struct timed_call *b)
{
    timed_call_free_all(&b, 1);
}

static void *run(void *arg)
{
    struct timed_call *b = arg;
    uint64_t one = 1;
    b->work(b->arg);
    pthread_mutex_lock(&b->lock);
    bool left = b->left;
    if (!left) {
        b->returned = true;
        b->running = false;
        /* It takes a one always: nobody else writes to it. */
        if (write(b->ended_fd, &one, sizeof one) < 0)
            abort();
    }
    pthread_mutex_unlock(&b->lock);
    if (left) {
        b->drop(b->arg);
        pthread_mutex_lock(&b->lock);
        b->running = false;
        pthread_cond_broadcast(&b->stopped);
        pthread_mutex_unlock(&b->lock);
    }
    unref(b);
    return NULL;
}

static int begin(struct timed_call *b)
{
    sigset_t all, before;
    sigfillset(&all); /* signals are for the host's threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    b->joinable = pthread_create(&b->thread, NULL, run, b) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return b->joinable ? OUTBOX_OK : OUTBOX_E_RETRY;
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int wait_for_end(const struct timed_call *b, int64_t timeout_ms, int cancel_fd)
{
    struct pollfd fds[] = {{.fd = b->ended_fd, .events = POLLIN},
                           {.fd = cancel_fd, .events = POLLIN}};
    int64_t until = now_ms() + timeout_ms;
    for (;;) {
        int64_t left = until - now_ms();
        int n = poll(fds, cancel_fd >= 0 ? 2 : 1,
                     left < 0         ? 0
                     : left > INT_MAX ? INT_MAX
                                      : (int)left);
        if (n < 0 && errno == EINTR)
            continue;
        if (fds[0].revents)
            return OUTBOX_OK;
        if (n > 0)
            return OUTBOX_E_CANCELLED;
        if (left <= 0)
            return OUTBOX_E_TIMEOUT;
    }
}

int timed_call_run(struct timed_call *b, void (*work)(void *arg), void (*drop)(void *arg),
                   void *arg, int64_t timeout_ms, int cancel_fd)
{
    uint64_t ended;
    pthread_mutex_lock(&b->lock);
    bool busy = b->running;
    if (!busy) {
        b->work = work;
        b->drop = drop;
        b->arg = arg;
        b->running = true;
        b->returned = b->left = false;
        b->refs++;
    }
    pthread_mutex_unlock(&b->lock);
    if (busy)
        return OUTBOX_E_BROKEN;
    join(b); /* one that was left and has ended since */
    if (begin(b) < 0) {
        b->running = false;
        unref(b);
        return OUTBOX_E_RETRY;
    }
    int r = wait_for_end(b, timeout_ms, cancel_fd);
    pthread_mutex_lock(&b->lock);
    if (b->returned)
        r = OUTBOX_OK; /* just now, perhaps */
    b->left = r != OUTBOX_OK;
    pthread_mutex_unlock(&b->lock);
    if (r != OUTBOX_OK)
        return r;
    if (read(b->ended_fd, &ended, sizeof ended) < 0)
        abort(); /* it was written to under the lock */
    join(b);
    return r;
}
