/* SPDX-License-Identifier: Apache-2.0 */
/* apart.c - calls of libpq that know no deadline: it looks up names, and cancels, for as long as
 * that takes. */
#include "inbox.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum state {
    IDLE,      /* there is no thread */
    RUNNING,   /* and its owner waits for it */
    ABANDONED, /* nobody waits: the thread drops arg */
    ORPHANED,  /* and frees this struct, too */
    RETURNED,  /* the thread has to be joined */
};

struct apart {
    _Atomic enum state state;
    int returned; /* an eventfd */
    pthread_t thread;
    void (*work)(void *);
    void (*drop)(void *);
    void *arg;
};

static bool change(struct apart *apart, enum state from, enum state to)
{
    return atomic_compare_exchange_strong(&apart->state, &from, to);
}

struct apart *apart_new(void)
{
    struct apart *apart = calloc(1, sizeof *apart);
    if (!apart)
        return NULL;
    apart->returned = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (apart->returned < 0) {
        free(apart);
        return NULL;
    }
    return apart;
}

static void destroy(struct apart *apart)
{
    close(apart->returned);
    free(apart);
}

static void join(struct apart *apart)
{
    eventfd_t one;
    if (!change(apart, RETURNED, IDLE))
        return;
    pthread_join(apart->thread, NULL);
    eventfd_read(apart->returned, &one);
}

void apart_free(struct apart *apart, int ms)
{
    struct pollfd fd = {.events = POLLIN};
    pthread_t thread;
    if (!apart)
        return;
    fd.fd = apart->returned;
    if (apart->state == ABANDONED)
        poll(&fd, 1, ms);
    thread = apart->thread; /* an orphan may be freed at once */
    if (change(apart, ABANDONED, ORPHANED)) {
        pthread_detach(thread);
        return;
    }
    join(apart);
    destroy(apart);
}

static void *run(void *arg)
{
    struct apart *apart = arg;
    bool kept;
    apart->work(apart->arg);
    kept = change(apart, RUNNING, RETURNED);
    if (!kept) {
        apart->drop(apart->arg);
        kept = change(apart, ABANDONED, RETURNED);
    }
    if (kept)
        eventfd_write(apart->returned, 1);
    else
        destroy(apart);
    return NULL;
}

static bool start(struct apart *apart)
{
    sigset_t all, before;
    int e;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the host's threads */
    e = pthread_create(&apart->thread, NULL, run, apart);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return e == 0;
}

int apart_run(struct apart *apart, void (*work)(void *), void (*drop)(void *), void *arg,
              struct outbox_deadline *d)
{
    int r;
    join(apart); /* one that was left behind and has ended since */
    if (!change(apart, IDLE, d ? RUNNING : ABANDONED))
        return OUTBOX_E_RETRY;
    apart->work = work;
    apart->drop = drop;
    apart->arg = arg;
    if (!start(apart)) {
        apart->state = IDLE;
        return OUTBOX_E_RETRY;
    }
    if (!d)
        return OUTBOX_E_TIMEOUT;
    r = outbox_wait(d, apart->returned, POLLIN, 0);
    if (r < 0 && change(apart, RUNNING, ABANDONED))
        return r;
    join(apart);
    return OUTBOX_OK;
}
