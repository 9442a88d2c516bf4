/* SPDX-License-Identifier: Apache-2.0 */
/* checked_life.c - opening and closing, which is the same for all kinds, and for what the instances
 * of a section share. */
#include "plugin/checked_call.h"

#include <stdlib.h>
#include <time.h>

#define COUNTS_SETTLE_MS 500

/* The operations of every kind begin alike (instance.c), so a publisher's stand for all of them. */
typedef int (*open_fn)(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                       struct outbox_err *err);
typedef void (*close_fn)(void *instance);

/* The host is always our own, so the wrapper may look into it. */
static struct checked_plugin *plugin_of(const struct outbox_host *host)
{
    const struct instance *instance = (const void *)host;
    return (struct checked_plugin *)(uintptr_t)instance->plugin;
}

static void list(struct checked *c)
{
    pthread_mutex_lock(&c->plugin->lock);
    c->next = c->plugin->open;
    c->plugin->open = c;
    pthread_mutex_unlock(&c->plugin->lock);
}

static void unlist(struct checked *c)
{
    pthread_mutex_lock(&c->plugin->lock);
    struct checked **at = &c->plugin->open;
    while (*at && *at != c)
        at = &(*at)->next;
    if (*at)
        *at = c->next;
    pthread_mutex_unlock(&c->plugin->lock);
}

static struct checked *instance_new(const struct outbox_host *host, const struct outbox_cfg *cfg)
{
    struct checked_plugin *plugin = plugin_of(host);
    const struct checked *shared = host->shared;
    struct checked *c = calloc(1, sizeof *c);
    if (c)
        c->host = checked_host_new(plugin, host, shared ? shared->inner : NULL);
    if (!c || !c->host) {
        free(c);
        return NULL;
    }
    c->plugin = plugin;
    c->cfg = cfg;
    c->descriptors = c->threads = -1;
    /* What instances share they may open and start later: it is counted at shared_close. */
    if ((plugin->checker.flags & CHECKER_ALONE) && !shared) {
        c->descriptors = checked_descriptors();
        c->threads = checked_threads();
    }
    list(c);
    return c;
}

static void instance_free(struct checked *c)
{
    unlist(c);
    checked_host_keep(c->host);
    checked_reason_drop(&c->reasons);
    free(c->handed);
    checked_rule_drop(c);
    free(c);
}

static int open_by(open_fn open, const char *operation, const struct outbox_host *host,
                   const struct outbox_cfg *cfg, void **ret, struct outbox_err *err)
{
    struct checked_call call;
    struct checked *c = instance_new(host, cfg);
    int r = OUTBOX_E_RETRY;
    if (!c)
        return outbox_fail(err, r, "out of memory");
    checked_call_begin(&call, c, operation, NULL, err);
    if (checked_call_ready(&call)) {
        r = open(checked_host_abi(c->host), cfg, &c->inner, call.err);
        if (checked_call_ms(&call) > CHECKED_OPEN_MS)
            checked_call_report(&call, "slow-open", "it took %lld ms",
                                (long long)checked_call_ms(&call));
        if (r == OUTBOX_OK && !c->inner) {
            checked_call_report(&call, "unset-ret", "it returned OUTBOX_OK and set no *ret");
            call.useless = "unset-ret";
        }
    }
    r = checked_call_end(&call, r);
    if (r == OUTBOX_OK)
        *ret = c;
    else
        instance_free(c);
    return r;
}

/* A thread that was joined is still listed for a moment. */
static void check_counts(struct checked_call *call, int descriptors, int threads)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    int more = 0;
    for (int ms = 0; threads >= 0 && ms < COUNTS_SETTLE_MS; ms += 10) {
        if ((more = checked_threads() - threads) <= 0)
            break;
        nanosleep(&pause, NULL);
    }
    if (threads >= 0 && more > 0)
        checked_call_report(call, "leaks-threads", "%d more than before open", more);
    more = checked_descriptors() - descriptors;
    if (descriptors >= 0 && more > 0)
        checked_call_report(call, "leaks-descriptors", "%d more than before open", more);
}

static void close_by(close_fn close, const char *operation, struct checked *c)
{
    struct checked_call call;
    if (!c)
        return;
    checked_call_begin(&call, c, operation, NULL, NULL);
    if (checked_call_ready(&call)) {
        close(c->inner);
        checked_host_close(c->host);
        if (checked_call_ms(&call) > OUTBOX_CLOSE_MS + CHECKED_LATE_MS)
            checked_call_report(&call, "slow-close", "it took %lld ms, and had %u",
                                (long long)checked_call_ms(&call), OUTBOX_CLOSE_MS);
        check_counts(&call, c->descriptors, c->threads);
    } else {
        close(c->inner);
    }
    checked_call_end(&call, OUTBOX_OK);
    checked_collect_drop(c);
    instance_free(c);
}

int checked_life_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                      struct outbox_err *err)
{
    return open_by(plugin_of(host)->inner->ops.publisher.open, "open", host, cfg, ret, err);
}

void checked_life_close(void *instance)
{
    struct checked *c = instance;
    if (c)
        close_by(c->plugin->inner->ops.publisher.close, "close", c);
}

int checked_life_shared_open(const struct outbox_host *host, const struct outbox_cfg *cfg,
                             void **ret, struct outbox_err *err)
{
    return open_by(plugin_of(host)->inner->desc.shared_open, "shared_open", host, cfg, ret, err);
}

void checked_life_shared_close(void *shared)
{
    struct checked *c = shared;
    close_by(c->plugin->inner->desc.shared_close, "shared_close", c);
}

uint64_t checked_life_capabilities(void *instance)
{
    struct checked *c = instance;
    struct checked_call call;
    uint64_t bits = 0;
    const struct plugin *inner = c->plugin->inner;
    checked_call_begin(&call, c, "capabilities", NULL, NULL);
    if (checked_call_ready(&call))
        bits = inner->desc.kind == OUTBOX_KIND_STORE ? inner->ops.store.capabilities(c->inner)
                                                     : inner->ops.publisher.capabilities(c->inner);
    checked_call_end(&call, OUTBOX_OK);
    return bits;
}
