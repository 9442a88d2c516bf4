/* SPDX-License-Identifier: Apache-2.0 */
/* lib_publisher.c - liboutbox: a publisher plugin for publish functions that wrap one. */
#include "lib/liboutbox.h"
#include "plugin/publisher.h"

#include "plugin/shared_state.h"

#include <outbox/helpers.h>

#include <stdlib.h>

/* Its outcomes are not the caller's: the plugin's reasons have to be copied. */
struct pooled {
    struct pooled *next;
    struct publisher publisher;
    struct lib_outcomes outcomes;
};

struct outbox_publisher {
    struct plugin_set *plugins;
    struct outbox_cfg *options;
    struct shared_state *shared;
    struct lib_sink sink;
    struct log *log;
    const struct plugin *plugin;
    pthread_mutex_t lock; /* of `idle` */
    struct pooled *idle;
};

/* ---- the pool ---- */

static int open_another(struct outbox_publisher *p, struct pooled **ret, struct outbox_err *err)
{
    const struct instance_setup setup = {
        .plugin = p->plugin, .cfg = p->options, .log = p->log, .shared = p->shared};
    struct pooled *pooled = calloc(1, sizeof *pooled);
    if (!pooled)
        return lib_out_of_memory(err);
    int r = publisher_open(&pooled->publisher, &setup, p->plugin->desc.name, err);
    if (r < 0)
        free(pooled);
    else
        *ret = pooled;
    return r;
}

static int enter(struct outbox_publisher *p, struct pooled **ret, struct outbox_err *err)
{
    pthread_mutex_lock(&p->lock);
    struct pooled *pooled = p->idle;
    if (pooled)
        p->idle = pooled->next;
    pthread_mutex_unlock(&p->lock);
    if (!pooled)
        return open_another(p, ret, err);
    *ret = pooled;
    return OUTBOX_OK;
}

static void leave(struct outbox_publisher *p, struct pooled *pooled)
{
    pthread_mutex_lock(&p->lock);
    pooled->next = p->idle;
    p->idle = pooled;
    pthread_mutex_unlock(&p->lock);
}

/* ---- opening and closing ---- */

static struct outbox_publisher *publisher_new(const char *plugin_dir)
{
    struct outbox_publisher *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    pthread_mutex_init(&p->lock, NULL);
    p->plugins = plugin_set_new(plugin_dir);
    p->shared = shared_state_new();
    p->log = lib_log_new(&p->sink, OUTBOX_LOG_INFO);
    if (p->plugins && p->shared && p->log)
        return p;
    outbox_publisher_close(p);
    return NULL;
}

OUTBOX_EXPORT int outbox_publisher_open(const char *plugin_dir, const char *plugin,
                                        const struct outbox_setting *settings,
                                        struct outbox_publisher **ret, struct outbox_err *err)
{
    struct outbox_publisher *p = publisher_new(plugin_dir);
    struct pooled *first;
    int r = p ? plugin_get(p->plugins, OUTBOX_KIND_PUBLISHER, plugin, &p->plugin, err)
              : lib_out_of_memory(err);
    if (r == 0)
        r = lib_options(p->plugin, settings, &p->options, err);
    if (r == 0)
        r = enter(p, &first, err);
    if (r < 0) {
        outbox_publisher_close(p);
        return r;
    }
    leave(p, first);
    *ret = p;
    return OUTBOX_OK;
}

OUTBOX_EXPORT void outbox_publisher_close(struct outbox_publisher *p)
{
    if (!p)
        return;
    for (struct pooled *pooled = p->idle, *next; pooled; pooled = next) {
        next = pooled->next;
        publisher_close(&pooled->publisher);
        lib_outcomes_clear(&pooled->outcomes);
        free(pooled);
    }
    options_free(p->options);
    plugin_set_free(p->plugins);
    shared_state_free(p->shared);
    log_free(p->log);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

OUTBOX_EXPORT void outbox_publisher_set_log(struct outbox_publisher *p, outbox_log_fn fn, void *ctx)
{
    p->sink = (struct lib_sink){fn, ctx};
}

/* ---- calls ---- */

OUTBOX_EXPORT int outbox_publisher_check(struct outbox_publisher *p, const struct outbox_call *call,
                                         struct outbox_err *err)
{
    struct pooled *pooled;
    int r = enter(p, &pooled, err);
    if (r < 0)
        return r;
    r = publisher_check(&pooled->publisher, call, err);
    leave(p, pooled);
    return r;
}

static void copy(const struct outbox_outcome *from, struct outbox_outcome *to)
{
    struct outbox_str reason = from->reason;
    if (reason.p)
        outbox_outcome_set(to, from->verdict, "%.*s",
                           reason.n > INT32_MAX ? INT32_MAX : (int)reason.n, reason.p);
    else
        outbox_outcome_set(to, from->verdict, NULL);
    to->after_ms = from->after_ms;
}

OUTBOX_EXPORT int outbox_publisher_publish(struct outbox_publisher *p,
                                           const struct outbox_message *const *messages, uint64_t n,
                                           const struct outbox_call *call,
                                           struct outbox_outcome *const *outcomes,
                                           struct outbox_err *err)
{
    struct pooled *pooled;
    int r = n > 0 ? enter(p, &pooled, err) : OUTBOX_OK;
    if (r < 0 || n == 0)
        return r;
    if (lib_outcomes_begin(&pooled->outcomes, n)) {
        r = publisher_publish(&pooled->publisher, messages, (size_t)n, call, pooled->outcomes.ptrs,
                              err);
        for (uint64_t i = 0; i < n; i++)
            copy(pooled->outcomes.ptrs[i], outcomes[i]);
    } else {
        r = lib_out_of_memory(err);
    }
    leave(p, pooled);
    return r;
}
