/* SPDX-License-Identifier: Apache-2.0 */
/* lib_router.c - liboutbox: routes added in code. */
#include "liboutbox.h"

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
