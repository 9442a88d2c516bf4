/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib_store.c - liboutbox: stores to write to, used by several threads.
 *
 * A lock around one instance would not do: a thread that saves in its own transaction holds locks
 * of the database while it waits for the instance, and whoever has that may wait for those locks.
 */
#include "lib/liboutbox.h"

#include "plugin/shared_state.h"

#include <outbox/helpers.h>

#include <stdlib.h>

OUTBOX_EXPORT const char *outbox_version(void)
{
    return PACKAGE_VERSION;
}

/* ---- the pool ---- */

static int open_another(struct outbox_store *s, struct lib_store_instance **ret,
                        struct outbox_err *err)
{
    const struct instance_setup setup = {
        .plugin = s->plugin, .cfg = s->options, .log = s->log, .shared = s->shared};
    struct lib_store_instance *instance = calloc(1, sizeof *instance);
    if (!instance)
        return lib_out_of_memory(err);
    int r = store_open_with(&instance->store, &setup, err);
    if (r < 0)
        free(instance);
    else
        *ret = instance;
    return r;
}

int lib_store_enter(struct outbox_store *s, struct lib_store_instance **ret, struct outbox_err *err)
{
    pthread_mutex_lock(&s->lock);
    struct lib_store_instance *instance = s->idle;
    if (instance)
        s->idle = instance->next;
    pthread_mutex_unlock(&s->lock);
    if (!instance)
        return open_another(s, ret, err);
    *ret = instance;
    return OUTBOX_OK;
}

void lib_store_leave(struct outbox_store *s, struct lib_store_instance *instance)
{
    pthread_mutex_lock(&s->lock);
    instance->next = s->idle;
    s->idle = instance;
    pthread_mutex_unlock(&s->lock);
}

/* ---- opening and closing ---- */

static struct outbox_store *store_new(void)
{
    struct outbox_store *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    pthread_mutex_init(&s->lock, NULL);
    s->shared = shared_state_new();
    s->log = lib_log_new(&s->sink, OUTBOX_LOG_INFO);
    if (s->shared && s->log)
        return s;
    outbox_store_close(s);
    return NULL;
}

/* The first instance is opened at once, because that checks the options. Takes the store, also when
 * it fails; r with *why is what failed before. */
static int store_begin(struct outbox_store *s, int r, struct outbox_store **ret,
                       struct outbox_err *why, struct outbox_err *err)
{
    struct lib_store_instance *instance;
    if (r == 0)
        r = lib_store_enter(s, &instance, why);
    if (r < 0) {
        outbox_store_close(s);
        return outbox_fail(err, r, "%s", why->text);
    }
    lib_store_leave(s, instance);
    *ret = s;
    return OUTBOX_OK;
}

OUTBOX_EXPORT int outbox_store_open(const char *plugin_dir, const char *name,
                                    const struct outbox_setting *settings,
                                    struct outbox_store **ret, struct outbox_err *err)
{
    struct outbox_err why = {.size = sizeof why};
    struct outbox_store *s = store_new();
    int r = s && (s->plugins = plugin_set_new(plugin_dir))
                ? plugin_get(s->plugins, OUTBOX_KIND_STORE, name, &s->plugin, &why)
                : lib_out_of_memory(&why);
    if (r == 0)
        r = lib_options(s->plugin, settings, &s->options, &why);
    return store_begin(s, r, ret, &why, err);
}

OUTBOX_EXPORT int outbox_store_from_ops(const struct outbox_store_ops *ops, void *ctx,
                                        struct outbox_store **ret, struct outbox_err *err)
{
    struct outbox_err why = {.size = sizeof why};
    struct outbox_store *s = store_new();
    int r = s ? lib_store_ops_new(ops, ctx, &s->functions, &why) : lib_out_of_memory(&why);
    if (r == 0) {
        s->plugin = &s->functions->plugin;
        r = lib_options(s->plugin, NULL, &s->options, &why);
    }
    return store_begin(s, r, ret, &why, err);
}

OUTBOX_EXPORT void outbox_store_close(struct outbox_store *s)
{
    if (!s)
        return;
    for (struct lib_store_instance *instance = s->idle, *next; instance; instance = next) {
        next = instance->next;
        store_close(&instance->store);
        free(instance);
    }
    options_free(s->options);
    plugin_set_free(s->plugins);
    shared_state_free(s->shared);
    free(s->functions);
    log_free(s->log);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

OUTBOX_EXPORT void outbox_store_set_log(struct outbox_store *s, outbox_log_fn fn, void *ctx)
{
    s->sink = (struct lib_sink){fn, ctx};
}

/* ---- tables ---- */

OUTBOX_EXPORT int outbox_store_init(struct outbox_store *s, uint32_t timeout_ms,
                                    struct outbox_err *err)
{
    struct outbox_str done;
    struct outbox_call call = store_call(timeout_ms, -1);
    struct lib_store_instance *instance;
    int r = lib_store_enter(s, &instance, err);
    if (r < 0)
        return r;
    r = store_init(&instance->store, &call, &done, err);
    lib_store_leave(s, instance);
    return r;
}

OUTBOX_EXPORT int outbox_store_check(struct outbox_store *s, uint32_t timeout_ms,
                                     struct outbox_err *err)
{
    struct outbox_call call = store_call(timeout_ms, -1);
    struct lib_store_instance *instance;
    int r = lib_store_enter(s, &instance, err);
    if (r < 0)
        return r;
    r = store_check(&instance->store, &call, err);
    lib_store_leave(s, instance);
    return r;
}
