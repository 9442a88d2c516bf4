/* SPDX-License-Identifier: Apache-2.0 */
/* checked_host.c - the host that a plugin gets: a copy at the end of a page, which stays there for
 * a while after close, and tells who uses it then. */
#include "plugin/checked_call.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* So many closed ones are kept. */
#define CLOSED_MAX 64
/* Shorter values of secrets stand in any text. */
#define SECRET_MIN 4

struct checked_host {
    struct checked_host *next; /* closed before this one */
    struct checked_plugin *plugin;
    pthread_rwlock_t lock;
    const struct outbox_host *real;
    bool closed; /* what `real` points to may be gone; the layer itself uses it till the end */
    char label[96];
    char version[64];
    struct outbox_host abi; /* last: the page ends behind it */
};

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static unsigned char *page_of(const struct checked_host *host)
{
    return (unsigned char *)(uintptr_t)(host + 1) - page_size();
}

static struct checked_host *self(const struct outbox_host *abi)
{
    return (struct checked_host *)((uintptr_t)abi - offsetof(struct checked_host, abi));
}

/* The real one, with a lock that let_go gives back; NULL: it is closed, and that is told. */
static const struct outbox_host *use(struct checked_host *host, const char *what)
{
    pthread_rwlock_rdlock(&host->lock);
    if (!host->closed)
        return host->real;
    pthread_rwlock_unlock(&host->lock);
    checked_report(host->plugin, host->label, "close", "logs-after-close", what);
    return NULL;
}

static void let_go(struct checked_host *host)
{
    pthread_rwlock_unlock(&host->lock);
}

static void host_log(const struct outbox_host *abi, int32_t level, const char *text, uint64_t n)
{
    const struct outbox_host *real = use(self(abi), "it logged after its close had returned");
    if (!real)
        return;
    real->log(real, level, text, n);
    let_go(self(abi));
}

static void host_count(const struct outbox_host *abi, const char *name, int64_t delta)
{
    const struct outbox_host *real = use(self(abi), "it counted after its close had returned");
    if (!real)
        return;
    real->count(real, name, delta);
    let_go(self(abi));
}

static int64_t host_now(const struct outbox_host *abi)
{
    const struct outbox_host *real = use(self(abi), "it asked for the time after its close");
    int64_t now = real ? real->now_us(real) : 0;
    if (real)
        let_go(self(abi));
    return now;
}

static int64_t host_monotonic(const struct outbox_host *abi)
{
    const struct outbox_host *real = use(self(abi), "it asked for the time after its close");
    int64_t now = real ? real->monotonic_us(real) : 0;
    if (real)
        let_go(self(abi));
    return now;
}

static const void *host_extension(const struct outbox_host *abi, const char *id)
{
    const struct outbox_host *real = use(self(abi), "it asked for a service after its close");
    const void *service = real ? real->extension(real, id) : NULL;
    if (real)
        let_go(self(abi));
    return service;
}

struct checked_host *checked_host_new(struct checked_plugin *plugin, const struct outbox_host *real,
                                      void *shared)
{
    _Static_assert(sizeof(struct checked_host) < 4096, "a page holds it");
    unsigned char *pages =
        mmap(NULL, 2 * page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return NULL;
    mprotect(pages + page_size(), page_size(), PROT_NONE);
    struct checked_host *host = (void *)(pages + page_size() - sizeof *host);
    host->plugin = plugin;
    host->real = real;
    pthread_rwlock_init(&host->lock, NULL);
    snprintf(host->label, sizeof host->label, "%s", real->instance);
    snprintf(host->version, sizeof host->version, "%s", real->version);
    host->abi = *real;
    host->abi.instance = host->label;
    host->abi.version = host->version;
    host->abi.log = host_log;
    host->abi.count = host_count;
    host->abi.now_us = host_now;
    host->abi.monotonic_us = host_monotonic;
    host->abi.extension = host_extension;
    host->abi.shared = shared;
    return host;
}

const struct outbox_host *checked_host_abi(const struct checked_host *host)
{
    return &host->abi;
}

const char *checked_host_label(const struct checked_host *host)
{
    return host->label;
}

/* The real host is always our own; a command may have opened it without a log. */
bool checked_host_can_log(const struct checked_host *host)
{
    const struct instance *instance = (const void *)host->real;
    return instance->log != NULL;
}

void checked_host_log(const struct checked_host *host, const char *text)
{
    host->real->log(host->real, OUTBOX_LOG_ERROR, text, strlen(text));
}

bool checked_host_shows_secret(const struct checked *of, const char *text)
{
    const struct plugin *plugin = of->plugin->inner;
    bool shows = false;
    for (size_t i = 0; i < plugin->desc.n_options && of->cfg && !shows; i++) {
        const struct outbox_option *o = descriptor_option(plugin, i);
        if (!(o->flags & OUTBOX_OPT_SECRET))
            continue;
        struct outbox_str value = of->host->real->option_text(of->cfg, o->name);
        shows = value.p && value.n >= SECRET_MIN && strstr(text, value.p);
    }
    return shows;
}

static void forget(struct checked_host *host)
{
    pthread_rwlock_destroy(&host->lock);
    munmap(page_of(host), 2 * page_size());
}

void checked_host_close(struct checked_host *host)
{
    pthread_rwlock_wrlock(&host->lock);
    host->closed = true;
    pthread_rwlock_unlock(&host->lock);
}

void checked_host_keep(struct checked_host *host)
{
    struct checked_plugin *plugin = host->plugin;
    checked_host_close(host);
    pthread_mutex_lock(&plugin->lock);
    host->next = plugin->closed;
    plugin->closed = host;
    struct checked_host *last = host;
    for (int n = 1; n < CLOSED_MAX && last; n++)
        last = last->next;
    struct checked_host *old = last ? last->next : NULL;
    if (last)
        last->next = NULL;
    pthread_mutex_unlock(&plugin->lock);
    if (old)
        forget(old);
}

void checked_host_forget_all(struct checked_plugin *plugin)
{
    for (struct checked_host *host = plugin->closed, *next; host; host = next) {
        next = host->next;
        forget(host);
    }
    plugin->closed = NULL;
}
