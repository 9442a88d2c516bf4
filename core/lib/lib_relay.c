/* SPDX-License-Identifier: Apache-2.0 */
/* lib_relay.c - liboutbox: a relay in the application's own process is made, with its store and its
 * publishers. */
#include "base/array.h"
#include "base/log.h"
#include "base/name.h"
#include "lib/liboutbox.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <stdlib.h>

OUTBOX_EXPORT int outbox_relay_new(const struct outbox_relay_options *options,
                                   struct outbox_relay **ret, struct outbox_err *err)
{
    struct outbox_relay *relay = calloc(1, sizeof *relay);
    if (relay)
        pthread_mutex_init(&relay->lock, NULL);
    if (!relay || !(relay->config = config_new("liboutbox"))) {
        outbox_relay_free(relay);
        return lib_out_of_memory(err);
    }
    int r = lib_configure(relay, options, err);
    if (r < 0)
        outbox_relay_free(relay);
    else
        *ret = relay;
    return r;
}

/* ---- stores ---- */

static int check_no_store(const struct outbox_relay *relay, struct outbox_err *err)
{
    if (relay->config->store_options)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the relay has a store already");
    return OUTBOX_OK;
}

OUTBOX_EXPORT int outbox_relay_set_store(struct outbox_relay *relay, const char *plugin_dir,
                                         const char *plugin, const struct outbox_setting *settings,
                                         struct outbox_err *err)
{
    struct config *c = relay->config;
    struct plugin_set *plugins = c->plugins;
    int r = check_no_store(relay, err);
    if (r == 0 && plugin_dir && !(plugins = plugin_set_new(plugin_dir)))
        r = lib_out_of_memory(err);
    if (r < 0)
        return r;
    if (plugins != c->plugins) { /* no publisher is there yet that came from the other */
        plugin_set_free(c->plugins);
        c->plugins = plugins;
    }
    r = plugin_get(c->plugins, OUTBOX_KIND_STORE, plugin, &c->store_plugin, err);
    return r < 0 ? r : lib_options(c->store_plugin, settings, &c->store_options, err);
}

OUTBOX_EXPORT int outbox_relay_set_store_ops(struct outbox_relay *relay,
                                             const struct outbox_store_ops *ops, void *ctx,
                                             struct outbox_err *err)
{
    struct config *c = relay->config;
    int r = check_no_store(relay, err);
    if (r < 0)
        return r;
    free(relay->store_functions); /* of a call that failed */
    relay->store_functions = NULL;
    if ((r = lib_store_ops_new(ops, ctx, &relay->store_functions, err)) < 0)
        return r;
    c->store_plugin = &relay->store_functions->plugin;
    return lib_options(c->store_plugin, NULL, &c->store_options, err);
}

/* ---- publishers ---- */

/* Takes the options, also when it fails. */
static int add_publisher(struct outbox_relay *relay, const char *name, const struct plugin *plugin,
                         struct outbox_cfg *options, struct outbox_err *err)
{
    struct publisher_config *p = options ? config_add_publisher(relay->config, name) : NULL;
    if (!p) {
        options_free(options);
        return lib_out_of_memory(err);
    }
    p->plugin = plugin;
    p->options = options;
    return OUTBOX_OK;
}

static int check_name(const struct outbox_relay *relay, const char *name, struct outbox_err *err)
{
    if (lib_has_router(relay))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "publishers come before the router and the first start");
    if (config_find_publisher(relay->config, name, NULL) != ROUTE_NONE)
        return outbox_fail(err, OUTBOX_E_CONFIG, "there is a publisher `%s` already", name);
    return name_check(name, "a publisher", err);
}

OUTBOX_EXPORT int outbox_relay_add_publisher(struct outbox_relay *relay, const char *name,
                                             const char *plugin,
                                             const struct outbox_setting *settings,
                                             struct outbox_err *err)
{
    const struct plugin *loaded;
    struct outbox_cfg *options = NULL;
    int r = check_name(relay, name, err);
    if (r == 0 && !relay->config->store_options)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "the store comes before the publishers");
    if (r == 0)
        r = plugin_get(relay->config->plugins, OUTBOX_KIND_PUBLISHER, plugin, &loaded, err);
    if (r == 0)
        r = lib_options(loaded, settings, &options, err);
    if (r == 0 && (r = lib_check_timeouts(loaded, options, relay->config->delivery.batch_timeout_ms,
                                          err)) < 0)
        options_free(options);
    return r < 0 ? r : add_publisher(relay, name, loaded, options, err);
}

OUTBOX_EXPORT int outbox_relay_add_function(struct outbox_relay *relay, const char *name,
                                            outbox_publish_fn fn, void *ctx, struct outbox_err *err)
{
    int r = check_name(relay, name, err);
    if (r < 0)
        return r;
    struct lib_function **added = array_add(&relay->functions, &relay->n_functions, sizeof *added);
    if (!added)
        return lib_out_of_memory(err);
    if ((r = lib_function_new(fn, ctx, added, err)) < 0)
        return r;
    const struct plugin *plugin = lib_function_plugin(*added);
    return add_publisher(relay, name, plugin, options_new(plugin), err);
}

/* ---- the end ---- */

OUTBOX_EXPORT void outbox_relay_free(struct outbox_relay *relay)
{
    if (!relay)
        return;
    if (relay->relay && relay_runs_caller(relay->relay)) {
        fputs("liboutbox: a callback called outbox_relay_free for its own relay\n", stderr);
        abort();
    }
    while (outbox_relay_stop(relay, UINT32_MAX, NULL) < 0)
        continue; /* its threads use what is freed here */
    lib_close_counted(relay);
    config_free(relay->config);
    for (size_t i = 0; i < relay->n_functions; i++)
        lib_function_free(relay->functions[i]);
    free(relay->functions);
    free(relay->store_functions);
    log_free(relay->log);
    pthread_mutex_destroy(&relay->lock);
    free(relay);
}
