/* SPDX-License-Identifier: Apache-2.0 */
#include "common/timed_call.h"

#include "common/signals.h"

#include <outbox/abi.h>

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* How long timed_call_free waits, ms: a plugin's close returns within a second. */
#define FREE_MS 800

enum state {
    IDLE,      /* there is no thread */
    RUNNING,   /* work runs, and the owner waits for it */
    ABANDONED, /* the owner waits no more: the thread drops arg when work has returned */
    ORPHANED,  /* and the owner is gone: the thread frees this struct too */
    RETURNED,  /* the thread has nothing left to do but to end */
};

struct timed_call {
    _Atomic enum state state;
    int returned_fd; /* readable when state is RETURNED, or soon */
    pthread_t thread;
    void (*work)(void *);
    void (*drop)(void *);
    void *arg;
};

/* False: it is in another state, and stays there. */
static bool change(struct timed_call *call, enum state from, enum state to)
{
    return atomic_compare_exchange_strong(&call->state, &from, to);
}

struct timed_call *timed_call_new(void)
{
    struct timed_call *call = calloc(1, sizeof *call);
    if (call && (call->returned_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
        free(call); /* keeps errno */
        call = NULL;
    }
    return call;
}

static void destroy(struct timed_call *call)
{
    close(call->returned_fd);
    free(call);
}

/* Joined always: libraries keep things for each thread that go only when it has ended. */
static void join(struct timed_call *call)
{
    eventfd_t one;
    if (!change(call, RETURNED, IDLE))
        return;
    pthread_join(call->thread, NULL);
    eventfd_read(call->returned_fd, &one);
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int await_return(const struct timed_call *call, int64_t until_ms, int cancel_fd)
{
    struct pollfd fds[] = {{.fd = call->returned_fd, .events = POLLIN},
                           {.fd = cancel_fd, .events = POLLIN}};
    for (;;) {
        int64_t left = until_ms - now_ms();
        int n = poll(fds, 2, left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left);
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

void timed_call_free_all(struct timed_call *const *all, size_t n)
{
    int64_t until_ms = now_ms() + FREE_MS;
    for (size_t i = 0; i < n; i++) {
        struct timed_call *call = all[i];
        if (!call)
            continue;
        if (call->state == ABANDONED)
            await_return(call, until_ms, -1);
        pthread_t thread = call->thread; /* an orphan may be freed at once */
        if (change(call, ABANDONED, ORPHANED)) {
            pthread_detach(thread);
        } else {
            join(call);
            destroy(call);
        }
    }
}

void timed_call_free(struct timed_call *call)
{
    timed_call_free_all(&call, 1);
}

/* The thread. */
static void *run(void *arg)
{
    struct timed_call *call = arg;
    call->work(call->arg);
    bool returned = change(call, RUNNING, RETURNED);
    if (!returned) {
        call->drop(call->arg);
        returned = change(call, ABANDONED, RETURNED);
    }
    if (returned)
        eventfd_write(call->returned_fd, 1);
    else
        destroy(call);
    return NULL;
}

static int start(struct timed_call *call)
{
    sigset_t before;
    signals_block(&before); /* signals are for the host's threads */
    int e = pthread_create(&call->thread, NULL, run, call);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return e ? OUTBOX_E_RETRY : OUTBOX_OK;
}

int timed_call_run(struct timed_call *call, void (*work)(void *arg), void (*drop)(void *arg),
                   void *arg, int64_t timeout_ms, int cancel_fd)
{
    join(call); /* one that was abandoned and has returned since */
    if (!change(call, IDLE, RUNNING))
        return OUTBOX_E_BROKEN;
    call->work = work;
    call->drop = drop;
    call->arg = arg;
    int r = start(call);
    if (r < 0) {
        call->state = IDLE;
        return r;
    }
    r = await_return(call, now_ms() + timeout_ms, cancel_fd);
    if (r < 0 && change(call, RUNNING, ABANDONED))
        return r;
    join(call);
    return OUTBOX_OK;
}
