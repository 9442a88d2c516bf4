/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include "base/array.h"
#include "base/hash.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct config *config_new(const char *file)
{
    char name[256] = "";
    struct config *config = calloc(1, sizeof *config);
    if (!config)
        return NULL;
    if (gethostname(name, sizeof name - 1) < 0)
        name[0] = '\0';
    config->store_shared = shared_state_new();
    config->file = strdup(file);
    config->name = strdup(name[0] ? name : "outboxd");
    if (!config->file || !config->name || !config->store_shared ||
        settings_apply_defaults(config) < 0) {
        config_free(config);
        return NULL;
    }
    return config;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->n_publishers; i++) {
        free(config->publishers[i].name);
        options_free(config->publishers[i].options);
        shared_state_free(config->publishers[i].shared);
    }
    free(config->publishers);
    route_table_clear(&config->routes);
    free((void *)(uintptr_t)config->routes.publishers);
    options_free(config->store_options);
    shared_state_free(config->store_shared);
    for (size_t i = 0; i < N_SETTINGS; i++)
        options_free(config->settings[i]);
    plugin_set_free(config->plugins);
    free(config->plugin_dir);
    free(config->name);
    free(config->file);
    free(config);
}

struct publisher_config *config_add_publisher(struct config *config, const char *name)
{
    struct publisher_config *p = array_add(&config->publishers, &config->n_publishers, sizeof *p);
    if (!p)
        return NULL;
    p->delivery = config->delivery;
    p->name = strdup(name);
    p->shared = shared_state_new();
    return p->name && p->shared ? p : NULL;
}

int config_open_store(const struct config *config, struct store *store, struct log *log,
                      struct outbox_err *err)
{
    const struct instance_setup setup = {.plugin = config->store_plugin,
                                         .cfg = config->store_options,
                                         .log = log,
                                         .shared = config->store_shared};
    return store_open_with(store, &setup, err);
}

static struct instance_setup setup_of(const struct publisher_config *p, struct log *log)
{
    int64_t ms = p->delivery.batch_timeout_ms;
    return (struct instance_setup){.plugin = p->plugin,
                                   .cfg = p->options,
                                   .log = log,
                                   .shared = p->shared,
                                   .publish_ms = ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms};
}

void config_init_publisher(const struct publisher_config *p, struct publisher *publisher,
                           struct log *log)
{
    const struct instance_setup setup = setup_of(p, log);
    publisher_init(publisher, &setup, p->name);
}

int config_open_publisher(const struct publisher_config *p, struct publisher *publisher,
                          struct log *log, struct outbox_err *err)
{
    const struct instance_setup setup = setup_of(p, log);
    return publisher_open(publisher, &setup, p->name, err);
}

size_t config_find_publisher(const struct config *config, const char *name, struct suggest *similar)
{
    for (size_t i = 0; i < config->n_publishers; i++) {
        if (strcmp(config->publishers[i].name, name) == 0)
            return i;
        if (similar)
            suggest_try(similar, config->publishers[i].name);
    }
    return ROUTE_NONE;
}

int config_check_publisher(const struct config *config, const struct outbox_cfg *cfg,
                           const struct outbox_option *option, struct outbox_err *err)
{
    const char *name = options_text(cfg, option->name).p;
    struct suggest similar = suggest_for(name ? name : "");
    if (option->type != OUTBOX_OPT_PUBLISHER || !name ||
        config_find_publisher(config, name, &similar) != ROUTE_NONE)
        return OUTBOX_OK;
    return outbox_fail_option(err, option->name, "%s: there is no [publisher %.80s]%s",
                              option->name, name, suggest_hint(&similar));
}

static int check_publishers(const struct config *config, const struct plugin *plugin,
                            const struct outbox_cfg *cfg, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    for (size_t i = 0; r == 0 && i < plugin->desc.n_options; i++)
        r = config_check_publisher(config, cfg, descriptor_option(plugin, i), err);
    return r;
}

int config_check_publishers(const struct config *config, struct outbox_err *err)
{
    int r = check_publishers(config, config->store_plugin, config->store_options, err);
    for (size_t i = 0; r == 0 && i < config->n_publishers; i++)
        r = check_publishers(config, config->publishers[i].plugin, config->publishers[i].options,
                             err);
    return r;
}

static uint64_t hash_route(const struct route *route)
{
    uint64_t hash = hash_number(HASH_START, route->n_matches);
    for (size_t i = 0; i < route->n_matches; i++) {
        hash = hash_number(hash, route->matches[i].subject);
        hash = hash_text(hash, route->matches[i].name);
        hash = hash_text(hash, route->matches[i].pattern);
    }
    hash = hash_text(hash, route->publisher);
    hash = hash_text(hash, route->header);
    hash = hash_number(hash, route->n_targets);
    for (size_t i = 0; i < route->n_targets; i++) {
        hash = hash_text(hash, route->targets[i].value);
        hash = hash_text(hash, route->targets[i].publisher);
    }
    hash = hash_text(hash, route->rule ? route->rule->desc.name : NULL);
    return route->rule ? options_hash(route->rule_cfg, hash) : hash;
}

static void ignore_change(void *ctx, const char *name, const char *before, const char *after)
{
    (void)ctx;
    (void)name;
    (void)before;
    (void)after;
}

/* The hash knows no secrets of a rule. */
bool config_same_route(const struct route *a, const struct route *b)
{
    return hash_route(a) == hash_route(b) && !a->rule == !b->rule &&
           (!a->rule ||
            (plugin_is_same(a->rule, b->rule) &&
             options_compare(a->rule, a->rule_cfg, b->rule_cfg, ignore_change, NULL) == 0));
}

/* Do two relays send the same message to the same place? */
static void set_hash(struct config *config)
{
    uint64_t hash = hash_number(HASH_START, config->n_publishers);
    uint64_t publishers = 0;
    for (size_t i = 0; i < config->n_publishers; i++)
        publishers += hash_text(hash_text(HASH_START, config->publishers[i].name),
                                config->publishers[i].plugin->desc.name);
    hash = hash_number(hash, publishers);
    for (size_t i = 0; i < config->routes.n_routes; i++)
        hash = hash_number(hash, hash_route(&config->routes.routes[i]));
    hash = hash_text(hash, config->routes.fallback);
    hash = hash_number(hash, (uint64_t)config->unrouted_fail);
    snprintf(config->hash, sizeof config->hash, "%016" PRIx64, hash);
}

/* The layer that checks plugins stands in for each of them. */
static int watch_plugins(struct config *config)
{
    int r = plugin_watch(config->plugins, &config->store_plugin);
    for (size_t i = 0; i < config->n_publishers && r == 0; i++)
        r = plugin_watch(config->plugins, &config->publishers[i].plugin);
    for (size_t i = 0; i < config->routes.n_routes && r == 0; i++)
        r = plugin_watch(config->plugins, &config->routes.routes[i].rule);
    return r;
}

int config_finish(struct config *config)
{
    const char **names = calloc(config->n_publishers + 1, sizeof *names);
    if (!names)
        return OUTBOX_E_RETRY;
    for (size_t i = 0; i < config->n_publishers; i++)
        names[i] = config->publishers[i].name;
    config->routes.publishers = names;
    config->routes.n_publishers = config->n_publishers;
    set_hash(config);
    return config->check_plugins ? watch_plugins(config) : OUTBOX_OK;
}
