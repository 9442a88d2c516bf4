/* SPDX-License-Identifier: Apache-2.0 */
/* lib_router.c - liboutbox: routes added in code, and copied into a relay. */
#include "lib/liboutbox.h"

OUTBOX_EXPORT struct outbox_router *outbox_router_new(void)
{
    return calloc(1, sizeof(struct outbox_router));
}

OUTBOX_EXPORT void outbox_router_free(struct outbox_router *router)
{
    if (!router)
        return;
    for (size_t i = 0; i < router->n_routes; i++) {
        struct lib_route *route = &router->routes[i];
        for (size_t j = 0; j < route->n_targets; j++) {
            free(route->targets[j].value);
            free(route->targets[j].publisher);
        }
        free(route->targets);
        free(route->header);
    }
    free(router->routes);
    free(router->fallback);
    free(router);
}

static struct lib_route *add(struct outbox_router *router)
{
    struct lib_route *grown = reallocarray(router->routes, router->n_routes + 1, sizeof *grown);
    if (!grown)
        return NULL;
    router->routes = grown;
    grown[router->n_routes] = (struct lib_route){0};
    return &grown[router->n_routes++];
}

static int add_target(struct lib_route *route, const char *value, const char *publisher)
{
    struct lib_target *grown = reallocarray(route->targets, route->n_targets + 1, sizeof *grown);
    if (!grown)
        return OUTBOX_E_RETRY;
    route->targets = grown;
    struct lib_target *target = &grown[route->n_targets++];
    target->value = strdup(value);
    target->publisher = strdup(publisher);
    return target->value && target->publisher ? OUTBOX_OK : OUTBOX_E_RETRY;
}

OUTBOX_EXPORT int outbox_router_add_function(struct outbox_router *router, outbox_route_fn fn,
                                             void *ctx)
{
    struct lib_route *route = add(router);
    if (!route)
        return OUTBOX_E_RETRY;
    route->fn = fn;
    route->ctx = ctx;
    return OUTBOX_OK;
}

OUTBOX_EXPORT int outbox_router_add_header_map(struct outbox_router *router, const char *header,
                                               const struct outbox_setting *map)
{
    struct lib_route *route = add(router);
    int r = route && (route->header = strdup(header)) ? OUTBOX_OK : OUTBOX_E_RETRY;
    for (; r == 0 && map->name; map++)
        r = add_target(route, map->name, map->value);
    return r;
}

OUTBOX_EXPORT int outbox_router_add_destination(struct outbox_router *router, const char *header,
                                                const char *const *publishers, uint64_t n)
{
    struct lib_route *route = add(router);
    int r = route && (route->header = strdup(header)) ? OUTBOX_OK : OUTBOX_E_RETRY;
    for (uint64_t i = 0; r == 0 && i < n; i++)
        r = add_target(route, publishers[i], publishers[i]);
    return r;
}

OUTBOX_EXPORT int outbox_router_set_fallback(struct outbox_router *router, const char *publisher)
{
    char *copy = strdup(publisher);
    if (!copy)
        return OUTBOX_E_RETRY;
    free(router->fallback);
    router->fallback = copy;
    return OUTBOX_OK;
}

/* ---- into a relay ---- */

static size_t find_publisher(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->n_publishers; i++)
        if (strcmp(c->publishers[i].name, name) == 0)
            return i;
    return ROUTE_NONE;
}

static size_t ask_function(void *ctx, const struct outbox_message *message)
{
    const struct lib_route_call *call = ctx;
    const char *name = call->fn(call->ctx, message);
    if (!name)
        return ROUTE_NONE;
    size_t publisher = find_publisher(call->config, name);
    return publisher == ROUTE_NONE ? ROUTE_UNKNOWN : publisher;
}

static int copy_targets(const struct config *c, const struct lib_route *from, struct route *to,
                        struct outbox_err *err)
{
    to->targets = calloc(from->n_targets + 1, sizeof *to->targets);
    if (!to->targets)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (size_t i = 0; i < from->n_targets; i++) {
        size_t publisher = find_publisher(c, from->targets[i].publisher);
        if (publisher == ROUTE_NONE)
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "a route names the publisher `%s`, which the "
                               "relay does not have",
                               from->targets[i].publisher);
        char *value = strdup(from->targets[i].value);
        if (!value)
            return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
        to->targets[to->n_targets++] = (struct route_target){value, publisher};
    }
    return OUTBOX_OK;
}

static int copy_route(struct outbox_relay *relay, const struct lib_route *from, size_t index,
                      struct outbox_err *err)
{
    struct config *c = relay->config;
    struct route *to = &c->routes.routes[c->routes.n_routes++];
    *to = (struct route){.publisher = ROUTE_NONE};
    if (asprintf(&to->name, "route-%zu", index + 1) < 0)
        to->name = NULL;
    if (!to->name || (from->header && !(to->header = strdup(from->header))))
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (from->fn) {
        relay->calls[index] = (struct lib_route_call){from->fn, from->ctx, c};
        to->fn = ask_function;
        to->fn_ctx = &relay->calls[index];
        return OUTBOX_OK;
    }
    return copy_targets(c, from, to, err);
}

static void forget_routes(struct outbox_relay *relay)
{
    struct route_table *table = &relay->config->routes;
    for (size_t i = 0; i < table->n_routes; i++)
        route_free(&table->routes[i]);
    free(table->routes);
    free(relay->calls);
    table->routes = NULL;
    table->n_routes = 0;
    table->fallback = ROUTE_NONE;
    relay->calls = NULL;
}

OUTBOX_EXPORT int outbox_relay_set_router(struct outbox_relay *relay,
                                          const struct outbox_router *router,
                                          struct outbox_err *err)
{
    struct config *c = relay->config;
    if (relay->calls)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the relay has a router already");
    relay->calls = calloc(router->n_routes + 1, sizeof *relay->calls);
    c->routes.routes = calloc(router->n_routes + 1, sizeof *c->routes.routes);
    int r = OUTBOX_OK;
    if (!relay->calls || !c->routes.routes)
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (size_t i = 0; r == 0 && i < router->n_routes; i++)
        r = copy_route(relay, &router->routes[i], i, err);
    if (r == 0 && router->fallback) {
        c->routes.fallback = find_publisher(c, router->fallback);
        if (c->routes.fallback == ROUTE_NONE)
            r = outbox_fail(err, OUTBOX_E_CONFIG, "the fallback `%s` is no publisher of the relay",
                            router->fallback);
    }
    if (r < 0)
        forget_routes(relay);
    return r;
}
