/* SPDX-License-Identifier: Apache-2.0 */
/* lib_router.c - liboutbox: routes added in code, asked, and copied into a relay. */
#include "lib/liboutbox.h"
#include "route/router.h"

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

/* ---- routes ---- */

/* What an addition returns: the router remembers a failure, which leaves half a route. */
static int added(struct outbox_router *router, int r)
{
    if (router && r < 0)
        router->failed = true;
    return r;
}

/* `header` may be NULL. */
static struct route *add(struct outbox_router *router, const char *header)
{
    char name[32];
    if (!router || router->failed)
        return NULL;
    snprintf(name, sizeof name, "route-%zu", router->table.n_routes + 1);
    struct route *route = route_add(&router->table, name);
    return route && (!header || (route->header = strdup(header))) ? route : NULL;
}

OUTBOX_EXPORT int outbox_router_add_function(struct outbox_router *router, outbox_route_fn fn,
                                             void *ctx)
{
    struct route *route = add(router, NULL);
    if (!route)
        return added(router, OUTBOX_E_RETRY);
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
    return added(router, r);
}

OUTBOX_EXPORT int outbox_router_add_destination(struct outbox_router *router, const char *header,
                                                const char *const *publishers, uint64_t n)
{
    struct route *route = add(router, header);
    int r = route ? OUTBOX_OK : OUTBOX_E_RETRY;
    for (uint64_t i = 0; r == 0 && i < n; i++)
        r = route_add_target(route, publishers[i], publishers[i]);
    return added(router, r);
}

static int copy_route(const struct route *from, struct route *to)
{
    int r = to ? OUTBOX_OK : OUTBOX_E_RETRY;
    if (r == 0 && ((from->header && !(to->header = strdup(from->header))) ||
                   (from->publisher && !(to->publisher = strdup(from->publisher)))))
        r = OUTBOX_E_RETRY;
    for (size_t i = 0; r == 0 && i < from->n_targets; i++)
        r = route_add_target(to, from->targets[i].value, from->targets[i].publisher);
    if (r < 0)
        return r;
    to->fn = from->fn;
    to->fn_ctx = from->fn_ctx;
    return OUTBOX_OK;
}

/* A fallback is a route that takes everything. */
OUTBOX_EXPORT int outbox_router_add_router(struct outbox_router *router,
                                           const struct outbox_router *other)
{
    int r = other && !other->failed ? OUTBOX_OK : OUTBOX_E_RETRY;
    const size_t n = other ? other->table.n_routes : 0; /* it may be the same router */
    for (size_t i = 0; r == 0 && i < n; i++) {
        struct route *to = add(router, NULL); /* which may move other->table.routes */
        r = copy_route(&other->table.routes[i], to);
    }
    if (r == 0 && other->table.fallback) {
        const struct route all = {.publisher = other->table.fallback};
        r = copy_route(&all, add(router, NULL));
    }
    return added(router, r);
}

OUTBOX_EXPORT int outbox_router_set_fallback(struct outbox_router *router, const char *publisher)
{
    char *copy = router && !router->failed ? strdup(publisher) : NULL;
    if (!copy)
        return added(router, OUTBOX_E_RETRY);
    free(router->table.fallback);
    router->table.fallback = copy;
    return OUTBOX_OK;
}

/* ---- asked ---- */

/* What was tried, on its way into a text. */
struct story {
    char *text;
    size_t cap;
    size_t n;
};

static OUTBOX_PRINTF(2, 3) void tell(struct story *story, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(story->text + story->n, story->cap - story->n, fmt, ap);
    va_end(ap);
    story->n += n < 0                               ? 0
                : (size_t)n < story->cap - story->n ? (size_t)n
                                                    : story->cap - story->n - 1;
}

static void explain(void *ctx, const struct route *route, const char *why)
{
    struct story *story = ctx;
    tell(story, "%s%s: %s", story->n > 0 ? "; " : "", route->name, why);
}

static int decide(const struct outbox_router *router, const struct outbox_message *message,
                  struct outbox_resolved *ret, struct outbox_err *err)
{
    struct story story = {ret->why, sizeof ret->why, 0};
    const struct route *by = NULL;
    int r = router_decide(&router->table, message, explain, &story, &ret->publisher, &by, err);
    if (r == OUTBOX_E_NOTSUP)
        return outbox_fail(err, r, "no route takes this message, and there is no fallback%s%s",
                           story.n > 0 ? ": " : "", ret->why);
    if (r < 0)
        return r;
    ret->route = by ? (uint32_t)(by - router->table.routes) + 1 : 0;
    if (!by)
        tell(&story, "%sthe fallback takes the rest", story.n > 0 ? "; " : "");
    return OUTBOX_OK;
}

OUTBOX_EXPORT int outbox_router_resolve(const struct outbox_router *router,
                                        const struct outbox_message *message,
                                        struct outbox_resolved *ret, struct outbox_err *err)
{
    struct outbox_resolved resolved = {.size = sizeof resolved};
    int r = lib_give("outbox_resolved", &resolved, sizeof resolved, ret, err);
    if (r == 0 && (!router || router->failed))
        r = lib_out_of_memory(err);
    if (r == 0)
        r = decide(router, message, &resolved, err);
    return r < 0 ? r : lib_give("outbox_resolved", &resolved, sizeof resolved, ret, err);
}

OUTBOX_EXPORT const char *outbox_router_ask(void *router, const struct outbox_message *message)
{
    const struct outbox_router *asked = router;
    const struct route *by;
    const char *publisher;
    return router_decide(&asked->table, message, NULL, NULL, &publisher, &by, NULL) < 0 ? NULL
                                                                                        : publisher;
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

static int check_route(const struct config *config, const struct route *route,
                       struct outbox_err *err)
{
    int r = route->publisher ? check_publisher(config, "a route", route->publisher, err) : 0;
    for (size_t i = 0; r == 0 && i < route->n_targets; i++)
        r = check_publisher(config, "a route", route->targets[i].publisher, err);
    return r;
}

static int copy_routes(struct config *config, const struct route_table *from,
                       struct outbox_err *err)
{
    int r = OUTBOX_OK;
    for (size_t i = 0; r == 0 && i < from->n_routes; i++) {
        r = check_route(config, &from->routes[i], err);
        if (r == 0 && (r = copy_route(&from->routes[i],
                                      route_add(&config->routes, from->routes[i].name))) < 0)
            lib_out_of_memory(err);
    }
    if (r == 0 && from->fallback)
        r = check_publisher(config, "the fallback", from->fallback, err);
    if (r == 0 && ((from->fallback && !(config->routes.fallback = strdup(from->fallback))) ||
                   config_finish(config) < 0))
        r = lib_out_of_memory(err);
    return r;
}

OUTBOX_EXPORT int outbox_relay_set_router(struct outbox_relay *relay,
                                          const struct outbox_router *router,
                                          struct outbox_err *err)
{
    if (lib_has_router(relay))
        return outbox_fail(err, OUTBOX_E_CONFIG, "the relay has a router already");
    if (!router || router->failed)
        return lib_out_of_memory(err);
    int r = copy_routes(relay->config, &router->table, err);
    if (r < 0)
        route_table_clear(&relay->config->routes);
    return r;
}
