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

enum state {
    IDLE,      /* there is no call */
    RUNNING,   /* work runs, and the owner waits for it */
    RETURNED,  /* work has returned, and the owner waited for it */
    ABANDONED, /* the owner waits no more: the thread drops arg when work has returned */
};

struct timed_call {
    pthread_mutex_t lock; /* of state and owner_is_gone */
    pthread_cond_t dropped;
    enum state state;
    bool owner_is_gone; /* the thread frees this struct */
    int returned_fd;    /* readable: state is RETURNED */
    void (*work)(void *);
    void (*drop)(void *);
    void *arg;
    /* The owner's. It is joined always: libraries keep things for each thread that go only when it
     * has ended. */
    pthread_t thread;
    bool joinable;
};

struct timed_call *timed_call_new(void)
{
    struct timed_call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    call->returned_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (call->returned_fd < 0) {
        free(call);
        return NULL;
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&call->lock, NULL);
    pthread_cond_init(&call->dropped, &attr);
    pthread_condattr_destroy(&attr);
    return call;
}

static void destroy(struct timed_call *call)
{
    close(call->returned_fd);
    pthread_cond_destroy(&call->dropped);
    pthread_mutex_destroy(&call->lock);
    free(call);
}

/* The thread has nothing left to do but to end. */
static void join(struct timed_call *call)
{
    if (call->joinable)
        pthread_join(call->thread, NULL);
    call->joinable = false;
}

static void free_until(struct timed_call *call, const struct timespec *until)
{
    if (!call)
        return;
    pthread_mutex_lock(&call->lock);
    while (call->state == ABANDONED &&
           pthread_cond_timedwait(&call->dropped, &call->lock, until) == 0)
        ;
    bool abandoned = call->state == ABANDONED;
    call->owner_is_gone = abandoned;
    if (abandoned)
        pthread_detach(call->thread); /* which needs the lock to go on */
    pthread_mutex_unlock(&call->lock);
    if (abandoned)
        return;
    join(call);
    destroy(call);
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

void timed_call_free(struct timed_call *call)
{
    timed_call_free_all(&call, 1);
}

/* The thread. Once it has set RETURNED, or IDLE while there is an owner, the struct may go: the
 * owner joins the thread before. */
static void *run(void *arg)
{
    struct timed_call *call = arg;
    uint64_t one = 1;
    call->work(call->arg);
    pthread_mutex_lock(&call->lock);
    bool abandoned = call->state == ABANDONED;
    if (!abandoned) {
        call->state = RETURNED;
        /* It always takes a one: only this thread writes to it. */
        if (write(call->returned_fd, &one, sizeof one) < 0)
            abort();
    }
    pthread_mutex_unlock(&call->lock);
    if (!abandoned)
        return NULL;
    call->drop(call->arg);
    pthread_mutex_lock(&call->lock);
    call->state = IDLE;
    bool last = call->owner_is_gone;
    pthread_cond_broadcast(&call->dropped);
    pthread_mutex_unlock(&call->lock);
    if (last)
        destroy(call);
    return NULL;
}

static int start(struct timed_call *call)
{
    sigset_t all, before;
    sigfillset(&all); /* signals are for the host's threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    call->joinable = pthread_create(&call->thread, NULL, run, call) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return call->joinable ? OUTBOX_OK : OUTBOX_E_RETRY;
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int await_return(const struct timed_call *call, int64_t timeout_ms, int cancel_fd)
{
    struct pollfd fds[] = {{.fd = call->returned_fd, .events = POLLIN},
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

int timed_call_run(struct timed_call *call, void (*work)(void *arg), void (*drop)(void *arg),
                   void *arg, int64_t timeout_ms, int cancel_fd)
{
    uint64_t one;
    pthread_mutex_lock(&call->lock);
    bool busy = call->state == ABANDONED;
    pthread_mutex_unlock(&call->lock);
    if (busy)
        return OUTBOX_E_BROKEN;
    join(call); /* one that was abandoned and has ended since */
    call->work = work;
    call->drop = drop;
    call->arg = arg;
    call->state = RUNNING;
    int r = start(call);
    if (r == OUTBOX_OK)
        r = await_return(call, timeout_ms, cancel_fd);
    pthread_mutex_lock(&call->lock);
    if (call->state == RETURNED)
        r = OUTBOX_OK; /* just now, perhaps */
    call->state = call->joinable && r < 0 ? ABANDONED : IDLE;
    pthread_mutex_unlock(&call->lock);
    if (r < 0)
        return r;
    if (read(call->returned_fd, &one, sizeof one) < 0)
        abort(); /* it was written to under the lock */
    join(call);
    return r;
}
