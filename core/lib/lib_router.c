/* SPDX-License-Identifier: Apache-2.0 */
/* lib_router.c - liboutbox: routes added in code, and copied into a relay. */
#include "lib/liboutbox.h"

#include <outbox/helpers.h>

#include <stdlib.h>

OUTBOX_EXPORT struct outbox_router *outbox_router_new(void)
{
    return calloc(1, sizeof(struct outbox_router));
}

OUTBOX_EXPORT void outbox_router_free(struct outbox_router *router)
{
    if (!router)
        return;
    route_table_clear(&router->table);
    free(router);
}

/* `header` may be NULL. */
static struct route *add(struct outbox_router *router, const char *header)
{
    char name[32];
    snprintf(name, sizeof name, "route-%zu", router->table.n_routes + 1);
    struct route *route = route_add(&router->table, name);
    return route && (!header || (route->header = strdup(header))) ? route : NULL;
}

OUTBOX_EXPORT int outbox_router_add_function(struct outbox_router *router, outbox_route_fn fn,
                                             void *ctx)
{
    struct route *route = add(router, NULL);
    if (!route)
        return OUTBOX_E_RETRY;
    route->fn = fn;
    route->fn_ctx = ctx;
    return OUTBOX_OK;
}

OUTBOX_EXPORT int outbox_router_add_header_map(struct outbox_router *router, const char *header,
                                               const struct outbox_setting *map)
{
    struct route *route = add(router, header);
    int r = route ? OUTBOX_OK : OUTBOX_E_RETRY;
    for (; r == 0 && map->name; map++)
        r = route_add_target(route, map->name, map->value);
    return r;
}

OUTBOX_EXPORT int outbox_router_add_destination(struct outbox_router *router, const char *header,
                                                const char *const *publishers, uint64_t n)
{
    struct route *route = add(router, header);
    int r = route ? OUTBOX_OK : OUTBOX_E_RETRY;
    for (uint64_t i = 0; r == 0 && i < n; i++)
        r = route_add_target(route, publishers[i], publishers[i]);
    return r;
}

OUTBOX_EXPORT int outbox_router_set_fallback(struct outbox_router *router, const char *publisher)
{
    char *copy = strdup(publisher);
    if (!copy)
        return OUTBOX_E_RETRY;
    free(router->table.fallback);
    router->table.fallback = copy;
    return OUTBOX_OK;
}

/* ---- into a relay ---- */

static int check_publisher(const struct config *config, const char *what, const char *name,
                           struct outbox_err *err)
{
    if (config_find_publisher(config, name, NULL) != ROUTE_NONE)
        return OUTBOX_OK;
    return outbox_fail(err, OUTBOX_E_CONFIG,
                       "%s names the publisher `%s`, which the relay does not have", what, name);
}

static int copy_route(struct config *config, const struct route *from, struct outbox_err *err)
{
    struct route *to = route_add(&config->routes, from->name);
    int r =
        to && (!from->header || (to->header = strdup(from->header))) ? OUTBOX_OK : OUTBOX_E_RETRY;
    for (size_t i = 0; r == 0 && i < from->n_targets; i++) {
        r = check_publisher(config, "a route", from->targets[i].publisher, err);
        if (r < 0)
            return r;
        r = route_add_target(to, from->targets[i].value, from->targets[i].publisher);
    }
    if (r < 0)
        return outbox_fail(err, r, "out of memory");
    to->fn = from->fn;
    to->fn_ctx = from->fn_ctx;
    return OUTBOX_OK;
}

OUTBOX_EXPORT int outbox_relay_set_router(struct outbox_relay *relay,
                                          const struct outbox_router *router,
                                          struct outbox_err *err)
{
    struct config *config = relay->config;
    const struct route_table *from = &router->table;
    int r = OUTBOX_OK;
    if (lib_has_router(relay))
        return outbox_fail(err, OUTBOX_E_CONFIG, "the relay has a router already");
    for (size_t i = 0; r == 0 && i < from->n_routes; i++)
        r = copy_route(config, &from->routes[i], err);
    if (r == 0 && from->fallback)
        r = check_publisher(config, "the fallback", from->fallback, err);
    if (r == 0 && ((from->fallback && !(config->routes.fallback = strdup(from->fallback))) ||
                   config_finish(config) < 0))
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r < 0)
        route_table_clear(&config->routes);
    return r;
}
