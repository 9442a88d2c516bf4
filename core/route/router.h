/* SPDX-License-Identifier: Apache-2.0 */
/* router.h - which publisher a message goes to. */
#ifndef CORE_ROUTE_ROUTER_H
#define CORE_ROUTE_ROUTER_H

#include "plugin/instance.h"

/* A condition: topic, key or header NAME matches an fnmatch pattern. */
enum route_subject { ROUTE_TOPIC, ROUTE_KEY, ROUTE_HEADER };
struct route_match {
    enum route_subject subject;
    char *header; /* ROUTE_HEADER */
    char *pattern;
};

/* A value of the destination header and the publisher it stands for (an index). */
struct route_target {
    char *value;
    size_t publisher;
};

#define ROUTE_NONE ((size_t)-1)
/* A function named one that there is not. */
#define ROUTE_UNKNOWN ((size_t)-2)

/* Decides in code: a publisher's index, or ROUTE_NONE to pass. */
typedef size_t (*route_fn)(void *ctx, const struct outbox_message *msg);

/* One [route NAME]. All matches must hold; then exactly one of the ways to name a publisher. */
struct route {
    char *name;
    int line;
    struct route_match *matches;
    size_t n_matches;
    size_t publisher;             /* `publisher = X`, else ROUTE_NONE */
    char *header;                 /* `header = H`, else NULL: its value is looked up in targets */
    struct route_target *targets; /* `to.VALUE = X` and `to = X, Y` */
    size_t n_targets;
    const struct plugin *rule; /* `plugin = X`, else NULL */
    struct outbox_cfg *rule_cfg;
    route_fn fn; /* built in code, else NULL */
    void *fn_ctx;
};

/* The whole [router] and its routes; immutable while routers use it. */
struct route_table {
    struct route *routes;
    size_t n_routes;
    size_t fallback;               /* ROUTE_NONE: none */
    const char *const *publishers; /* names, by index; what rules answer with */
    size_t n_publishers;
};
void route_free(struct route *route); /* its members */

/* A table in use by one thread: rule plugins opened. */
struct router;
int router_open(const struct route_table *table, struct log *log, struct router **ret,
                struct outbox_err *err);
void router_close(struct router *router);

/* How a decision came about, for `outboxd route`; the text is one line without newline. */
typedef void (*router_explain)(void *ctx, const struct route *route, const char *why);

/*
 * The publisher's index and *ret_route (NULL: the fallback), or OUTBOX_E_NOTSUP when no
 * route and no fallback takes it (err says so), or a rule's error. `explain` may be NULL.
 */
int router_route(struct router *router, const struct outbox_message *msg, router_explain explain,
                 void *ctx, size_t *ret, const struct route **ret_route, struct outbox_err *err);

#endif
