/* SPDX-License-Identifier: Apache-2.0 */
/* lib_router.c - liboutbox: routes added in code, and copied into a relay. */
#include "base/array.h"
#include "lib/liboutbox.h"

#include <outbox/helpers.h>

#include <stdlib.h>

OUTBOX_EXPORT struct outbox_router *outbox_router_new(void)
{
    struct outbox_router *router = calloc(1, sizeof *router);
    if (router)
        router->table.fallback = ROUTE_NONE;
    return router;
}

OUTBOX_EXPORT void outbox_router_free(struct outbox_router *router)
{
    if (!router)
        return;
    route_table_clear(&router->table);
    for (size_t i = 0; i < router->table.n_publishers; i++)
        free(router->names[i]);
    free(router->names);
    free(router);
}

static struct route *add(struct outbox_router *router)
{
    char name[32];
    snprintf(name, sizeof name, "route-%zu", router->table.n_routes + 1);
    return route_add(&router->table, name);
}

/* The index of a publisher's name, which is added when it is new; ROUTE_NONE without memory. */
static size_t use_name(struct outbox_router *router, const char *name)
{
    struct route_table *table = &router->table;
    size_t publisher = route_find_publisher(table, name);
    if (publisher != ROUTE_NONE)
        return publisher;
    char *copy = strdup(name);
    char **added = copy ? array_add(&router->names, &table->n_publishers, sizeof *added) : NULL;
    if (!added) {
        free(copy);
        return ROUTE_NONE;
    }
    *added = copy;
    table->publishers = (const char *const *)router->names;
    return table->n_publishers - 1;
}

static int add_target(struct outbox_router *router, struct route *route, const char *value,
                      const char *name)
{
    size_t publisher = use_name(router, name);
    return publisher == ROUTE_NONE ? OUTBOX_E_RETRY : route_add_target(route, value, publisher);
}

OUTBOX_EXPORT int outbox_router_add_function(struct outbox_router *router, outbox_route_fn fn,
                                             void *ctx)
{
    struct route *route = add(router);
    if (!route)
        return OUTBOX_E_RETRY;
    route->fn = fn;
    route->fn_ctx = ctx;
    return OUTBOX_OK;
}

OUTBOX_EXPORT int outbox_router_add_header_map(struct outbox_router *router, const char *header,
                                               const struct outbox_setting *map)
{
    struct route *route = add(router);
    int r = route && (route->header = strdup(header)) ? OUTBOX_OK : OUTBOX_E_RETRY;
    for (; r == 0 && map->name; map++)
        r = add_target(router, route, map->name, map->value);
    return r;
}

OUTBOX_EXPORT int outbox_router_add_destination(struct outbox_router *router, const char *header,
                                                const char *const *publishers, uint64_t n)
{
    struct route *route = add(router);
    int r = route && (route->header = strdup(header)) ? OUTBOX_OK : OUTBOX_E_RETRY;
    for (uint64_t i = 0; r == 0 && i < n; i++)
        r = add_target(router, route, publishers[i], publishers[i]);
    return r;
}

OUTBOX_EXPORT int outbox_router_set_fallback(struct outbox_router *router, const char *publisher)
{
    size_t fallback = use_name(router, publisher);
    if (fallback == ROUTE_NONE)
        return OUTBOX_E_RETRY;
    router->table.fallback = fallback;
    return OUTBOX_OK;
}

/* ---- into a relay ---- */

bool lib_router_is_set(const struct outbox_relay *relay)
{
    return relay->config->routes.publishers != NULL;
}

/* The relay's index for a publisher of the router. */
static int find(const struct config *config, const struct route_table *from, size_t publisher,
                size_t *ret, struct outbox_err *err)
{
    const char *name = from->publishers[publisher];
    *ret = config_find_publisher(config, name);
    if (*ret != ROUTE_NONE)
        return OUTBOX_OK;
    return outbox_fail(err, OUTBOX_E_CONFIG,
                       "%s names the publisher `%s`, which the relay does "
                       "not have",
                       publisher == from->fallback ? "the fallback" : "a route", name);
}

static int copy_route(struct config *config, const struct route_table *from,
                      const struct route *route, struct outbox_err *err)
{
    struct route *to = route_add(&config->routes, route->name);
    if (!to || (route->header && !(to->header = strdup(route->header))))
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    to->fn = route->fn;
    to->fn_ctx = route->fn_ctx;
    for (size_t i = 0; i < route->n_targets; i++) {
        size_t publisher;
        int r = find(config, from, route->targets[i].publisher, &publisher, err);
        if (r < 0)
            return r;
        if (route_add_target(to, route->targets[i].value, publisher) < 0)
            return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    return OUTBOX_OK;
}

OUTBOX_EXPORT int outbox_relay_set_router(struct outbox_relay *relay,
                                          const struct outbox_router *router,
                                          struct outbox_err *err)
{
    struct config *config = relay->config;
    const struct route_table *from = &router->table;
    int r = OUTBOX_OK;
    if (lib_router_is_set(relay))
        return outbox_fail(err, OUTBOX_E_CONFIG, "the relay has a router already");
    for (size_t i = 0; r == 0 && i < from->n_routes; i++)
        r = copy_route(config, from, &from->routes[i], err);
    if (r == 0 && from->fallback != ROUTE_NONE)
        r = find(config, from, from->fallback, &config->routes.fallback, err);
    if (r == 0 && (r = config_finish(config)) < 0)
        outbox_fail(err, r, "out of memory");
    if (r < 0)
        route_table_clear(&config->routes);
    return r;
}
