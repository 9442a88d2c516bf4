/* SPDX-License-Identifier: Apache-2.0 */
/* link.c - between the library's threads and ours. */
#include "link.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>

/* So many answers are worth waking our thread though more follow. */
#define TOGETHER 64

struct link *link_new(size_t inbox_n, int wake_fd)
{
    struct link *link = calloc(1, sizeof *link);
    pthread_condattr_t attr;
    if (!link)
        return NULL;
    pthread_mutex_init(&link->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&link->changed, &attr);
    pthread_condattr_destroy(&attr);
    link->inbox_n = inbox_n;
    link->refs = 1;
    link->wake_fd = wake_fd;
    link->fd = -1;
    return link;
}

void link_ref(struct link *link)
{
    pthread_mutex_lock(&link->lock);
    link->refs++;
    pthread_mutex_unlock(&link->lock);
}

void link_clear(struct answers *answers)
{
    for (size_t i = 0; i < answers->n; i++)
        free(answers->items[i].text);
    free(answers->items);
    memset(answers, 0, sizeof *answers);
}

void link_unref(struct link *link)
{
    int refs;
    pthread_mutex_lock(&link->lock);
    refs = --link->refs;
    pthread_mutex_unlock(&link->lock);
    if (refs > 0)
        return;
    link_clear(&link->answers);
    pthread_cond_destroy(&link->changed);
    pthread_mutex_destroy(&link->lock);
    free(link);
}

void link_leave(struct link *link)
{
    pthread_mutex_lock(&link->lock);
    link->wake_fd = -1;
    pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->lock);
    if (link->is_guarded)
        pthread_join(link->guard, NULL);
    link_unref(link);
}

/* ---- what comes in ---- */

/* Under the lock. NULL: nobody wants it, or there is no memory, and the message has no answer. */
static struct answer *add(struct link *link, const char *text, size_t n)
{
    struct answers *all = &link->answers;
    struct answer *a;
    if (link->wake_fd < 0)
        return NULL;
    if (all->n == all->room) {
        size_t room = all->room ? all->room * 2 : 64;
        struct answer *items = realloc(all->items, room * sizeof *items);
        if (!items)
            return NULL;
        all->items = items;
        all->room = room;
    }
    a = &all->items[all->n];
    memset(a, 0, sizeof *a);
    a->text = malloc(n + 1);
    if (!a->text)
        return NULL;
    if (n > 0)
        memcpy(a->text, text, n);
    a->text[n] = '\0';
    all->n++;
    return a;
}

/* Under the lock. `more` follow at once: our thread is not woken for each. */
static void wake(struct link *link, int more)
{
    if (link->is_woken || link->wake_fd < 0 || link->answers.n == 0 ||
        (more > 0 && link->answers.n < TOGETHER))
        return;
    link->is_woken = 1;
    eventfd_write(link->wake_fd, 1);
}

void link_on_message(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure)
{
    struct link *link = closure;
    const char *subject = natsMsg_GetSubject(msg);
    size_t n = strlen(subject);
    int size = natsMsg_GetDataLength(msg), more = 0, bytes;
    struct answer *a;
    (void)nc;
    if (natsSubscription_GetPending(sub, &more, &bytes) != NATS_OK)
        more = 0;
    pthread_mutex_lock(&link->lock);
    if (n > link->inbox_n && n - link->inbox_n < sizeof a->token) {
        a = add(link, natsMsg_GetData(msg), size > 0 ? (size_t)size : 0);
        if (a) {
            memcpy(a->token, subject + link->inbox_n, n - link->inbox_n);
            a->none = natsMsg_IsNoResponders(msg);
        }
    }
    wake(link, more);
    pthread_mutex_unlock(&link->lock);
    natsMsg_Destroy(msg);
}

void link_on_complete(void *closure)
{
    link_unref(closure);
}

static void on_error(natsConnection *nc, natsSubscription *sub, natsStatus s, void *closure)
{
    struct link *link = closure;
    const char *text = nats_GetLastError(NULL);
    struct answer *a;
    (void)nc;
    (void)sub;
    if (!text || !*text)
        text = natsStatus_GetText(s);
    pthread_mutex_lock(&link->lock);
    a = add(link, text, strlen(text));
    if (a)
        a->kind = LINK_ERROR;
    wake(link, 0);
    pthread_mutex_unlock(&link->lock);
}

static void on_closed(natsConnection *nc, void *closure)
{
    (void)nc;
    link_unref(closure);
}

struct answers link_take(struct link *link)
{
    struct answers all;
    pthread_mutex_lock(&link->lock);
    all = link->answers;
    memset(&link->answers, 0, sizeof link->answers);
    link->is_woken = 0;
    pthread_mutex_unlock(&link->lock);
    return all;
}

/* ---- the loop ---- */

static natsStatus on_attach(void **data, void *loop, natsConnection *nc, natsSock fd)
{
    struct link *link = loop;
    (void)nc;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    pthread_mutex_lock(&link->lock);
    link->fd = fd;
    pthread_mutex_unlock(&link->lock);
    *data = link;
    return NATS_OK;
}

/* The library adds it never, and removes it when it closes the socket. */
static natsStatus on_read(void *data, bool is_added)
{
    struct link *link = data;
    natsSock fd;
    if (is_added)
        return NATS_OK;
    pthread_mutex_lock(&link->lock);
    fd = link->fd;
    link->fd = -1;
    pthread_mutex_unlock(&link->lock);
#if NATS_VERSION_NUMBER >= 0x030A00
    natsConnection_ProcessCloseEvent(&fd); /* older ones close it themselves */
#else
    (void)fd;
#endif
    return NATS_OK;
}

static natsStatus on_write(void *data, bool is_added)
{
    struct link *link = data;
    pthread_mutex_lock(&link->lock);
    link->wants_write = is_added;
    pthread_mutex_unlock(&link->lock);
    return NATS_OK;
}

static natsStatus on_detach(void *data)
{
    (void)data;
    return NATS_OK;
}

int link_fd(struct link *link, int *ret_wants_write)
{
    int fd;
    pthread_mutex_lock(&link->lock);
    fd = link->fd;
    *ret_wants_write = link->wants_write;
    pthread_mutex_unlock(&link->lock);
    return fd;
}

natsStatus link_set_options(struct link *link, natsOptions *opts)
{
    natsStatus s = natsOptions_SetEventLoop(opts, link, on_attach, on_read, on_write, on_detach);
    if (s == NATS_OK)
        s = natsOptions_SetErrorHandler(opts, on_error, link);
    if (s == NATS_OK)
        s = natsOptions_SetClosedCB(opts, on_closed, link);
    return s;
}

/* ---- the guard ---- */

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

void link_busy(struct link *link, int is_busy)
{
    pthread_mutex_lock(&link->lock);
    link->busy_ns = is_busy ? now_ns() : 0;
    pthread_mutex_unlock(&link->lock);
}

static void *guard(void *arg)
{
    struct link *link = arg;
    pthread_mutex_lock(&link->lock);
    while (link->wake_fd >= 0) {
        int64_t at = now_ns();
        struct timespec until;
        if (link->busy_ns > 0 && at - link->busy_ns >= link->limit_ns && link->fd >= 0)
            link->is_shut = shutdown(link->fd, SHUT_RDWR) == 0;
        at += link->limit_ns / 2;
        until.tv_sec = (time_t)(at / 1000000000);
        until.tv_nsec = (long)(at % 1000000000);
        pthread_cond_timedwait(&link->changed, &link->lock, &until);
    }
    pthread_mutex_unlock(&link->lock);
    return NULL;
}

int link_guard(struct link *link, int64_t limit_us)
{
    int e;
    link->limit_ns = limit_us * 1000;
    e = pthread_create(&link->guard, NULL, guard, link);
    link->is_guarded = e == 0;
    return e;
}

int link_is_shut(struct link *link)
{
    int is_shut;
    pthread_mutex_lock(&link->lock);
    is_shut = link->is_shut;
    pthread_mutex_unlock(&link->lock);
    return is_shut;
}
