/* SPDX-License-Identifier: Apache-2.0 */
/* changes.c - what differs between two configurations of one relay: for people, and for who takes
 * over the instances of the earlier one. */
#include "config/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct tell {
    void (*fn)(void *ctx, const char *text);
    void *ctx;
    size_t n; /* told changes */
};

static void tell(struct tell *t, bool change, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void tell(struct tell *t, bool change, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    t->n += change;
    t->fn(t->ctx, text);
}

/* ---- sections of the core's own ---- */

struct settings_change {
    struct tell *tell;
    const char *section;
};

static void tell_setting(void *ctx, const char *name, const char *before, const char *after)
{
    struct settings_change *c = ctx;
    if (strcmp(name, "fallback") == 0)
        return; /* the router's, see below */
    tell(c->tell, true, "[%s] %s: %.100s -> %.100s", c->section, name, before ? before : "not set",
         after ? after : "not set");
}

static void compare_settings(const struct config *before, const struct config *after,
                             struct tell *t)
{
    const struct settings *const all[] = {&settings_relay, &settings_router, &settings_log};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct settings_change c = {t, all[i]->section};
        options_compare(&all[i]->options, before->settings[all[i]->index],
                        after->settings[all[i]->index], tell_setting, &c);
    }
}

/* ---- sections that name a plugin ---- */

/* The names of changed options, without their values, which may be long or secret. */
struct names {
    char text[300];
};

static void add_name(void *ctx, const char *name, const char *before, const char *after)
{
    struct names *names = ctx;
    size_t n = strlen(names->text);
    (void)before;
    (void)after;
    snprintf(names->text + n, sizeof names->text - n, "%s%s", n > 0 ? ", " : "", name);
}

static void compare_store(const struct config *before, const struct config *after, struct tell *t)
{
    const char *from = before->store_plugin->desc.name, *to = after->store_plugin->desc.name;
    struct names names = {""};
    if (!plugin_is_same(before->store_plugin, after->store_plugin))
        tell(t, true, "store: changed (plugin %s -> %s)", from, to);
    else if (options_compare(before->store_plugin, before->store_options, after->store_options,
                             add_name, &names) > 0)
        tell(t, true, "store: changed (%s)", names.text);
    else
        tell(t, false, "store: unchanged");
}

/* It is a part of how instances are opened. */
static bool is_opened_alike(const struct config *before, const struct config *after)
{
    return before->check_plugins == after->check_plugins;
}

bool config_keeps_store(const struct config *before, const struct config *after)
{
    struct names names = {""};
    return is_opened_alike(before, after) && strcmp(before->name, after->name) == 0 &&
           before->store_plugin == after->store_plugin &&
           options_compare(before->store_plugin, before->store_options, after->store_options,
                           add_name, &names) == 0;
}

static void compare_delivery(const struct delivery *a, const struct delivery *b,
                             struct names *names)
{
    if (a->batch_size != b->batch_size)
        add_name(names, "batch_size", NULL, NULL);
    if (a->max_retries != b->max_retries)
        add_name(names, "max_retries", NULL, NULL);
    if (a->batch_timeout_ms != b->batch_timeout_ms)
        add_name(names, "batch_timeout", NULL, NULL);
    if (a->retry_min_ms != b->retry_min_ms)
        add_name(names, "retry_min", NULL, NULL);
    if (a->retry_max_ms != b->retry_max_ms)
        add_name(names, "retry_max", NULL, NULL);
}

size_t config_kept_publisher(const struct config *before, const struct config *after, size_t i)
{
    const struct publisher_config *p = &after->publishers[i];
    struct names names = {""};
    size_t was = config_find_publisher(before, p->name, NULL);
    if (was == ROUTE_NONE || !is_opened_alike(before, after))
        return ROUTE_NONE;
    const struct publisher_config *old = &before->publishers[was];
    return old->plugin == p->plugin &&
                   old->delivery.batch_timeout_ms == p->delivery.batch_timeout_ms &&
                   options_compare(p->plugin, old->options, p->options, add_name, &names) == 0
               ? was
               : ROUTE_NONE;
}

static void compare_publisher(const struct publisher_config *before,
                              const struct publisher_config *after, bool kept, struct tell *t)
{
    struct names names = {""};
    if (plugin_is_same(before->plugin, after->plugin))
        options_compare(before->plugin, before->options, after->options, add_name, &names);
    else
        add_name(&names, "plugin", NULL, NULL);
    compare_delivery(&before->delivery, &after->delivery, &names);
    if (!kept)
        tell(t, true, "publisher %s: changed (%s), reopened", after->name,
             names.text[0] ? names.text : "check_plugins");
    else if (names.text[0])
        tell(t, true, "publisher %s: changed (%s), keeps its connections", after->name, names.text);
    else
        tell(t, false, "publisher %s: unchanged, keeps its connections", after->name);
}

static void compare_publishers(const struct config *before, const struct config *after,
                               struct tell *t)
{
    for (size_t i = 0; i < before->n_publishers; i++)
        if (config_find_publisher(after, before->publishers[i].name, NULL) == ROUTE_NONE)
            tell(t, true, "publisher %s: removed", before->publishers[i].name);
    for (size_t i = 0; i < after->n_publishers; i++) {
        const struct publisher_config *p = &after->publishers[i];
        size_t was = config_find_publisher(before, p->name, NULL);
        if (was == ROUTE_NONE)
            tell(t, true, "publisher %s: added", p->name);
        else
            compare_publisher(&before->publishers[was], p,
                              config_kept_publisher(before, after, i) != ROUTE_NONE, t);
    }
}

/* ---- routes ---- */

static size_t find_route(const struct config *config, const char *name)
{
    size_t i = 0;
    while (i < config->routes.n_routes && strcmp(config->routes.routes[i].name, name) != 0)
        i++;
    return i;
}

static void compare_routes(const struct config *before, const struct config *after, struct tell *t)
{
    const struct route_table *old = &before->routes, *new = &after->routes;
    const char *from = old->fallback, *to = new->fallback;
    bool in_order = true;
    size_t last = 0;
    for (size_t i = 0; i < old->n_routes; i++)
        if (find_route(after, old->routes[i].name) == new->n_routes)
            tell(t, true, "route %s: removed", old->routes[i].name);
    for (size_t i = 0; i < new->n_routes; i++) {
        size_t was = find_route(before, new->routes[i].name);
        if (was == old->n_routes) {
            tell(t, true, "route %s: added", new->routes[i].name);
            continue;
        }
        if (!config_same_route(&old->routes[was], &new->routes[i]))
            tell(t, true, "route %s: changed", new->routes[i].name);
        in_order &= was >= last;
        last = was;
    }
    if (!in_order)
        tell(t, true, "routes: in another order");
    if (!from != !to || (from && strcmp(from, to) != 0))
        tell(t, true, "[router] fallback: %.64s -> %.64s", from ? from : "none", to ? to : "none");
}

/* ---- all of it ---- */

size_t config_compare(const struct config *before, const struct config *after,
                      void (*fn)(void *ctx, const char *text), void *ctx)
{
    struct tell t = {fn, ctx, 0};
    compare_settings(before, after, &t);
    compare_store(before, after, &t);
    compare_publishers(before, after, &t);
    compare_routes(before, after, &t);
    return t.n;
}

void config_share(struct config *config, const struct config *before)
{
    if (config_keeps_store(before, config)) {
        options_free(config->store_options);
        config->store_options = options_share(before->store_options);
        shared_state_free(config->store_shared);
        config->store_shared = shared_state_share(before->store_shared);
    }
    for (size_t i = 0; i < config->n_publishers; i++) {
        struct publisher_config *p = &config->publishers[i];
        size_t was = config_kept_publisher(before, config, i);
        if (was == ROUTE_NONE)
            continue;
        options_free(p->options);
        p->options = options_share(before->publishers[was].options);
        shared_state_free(p->shared);
        p->shared = shared_state_share(before->publishers[was].shared);
    }
}
