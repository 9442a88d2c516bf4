/* SPDX-License-Identifier: Apache-2.0 */
/* liboutbox.h - the objects of <outbox/outbox.h> from inside. Only lib_*.c include it. */
#ifndef CORE_LIB_LIBOUTBOX_H
#define CORE_LIB_LIBOUTBOX_H

#include "config/config.h"
#include "plugin/store.h"
#include "relay/relay.h"

#include <outbox/outbox.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct outbox_store {
    struct plugin_set *plugins;
    struct outbox_cfg *options;
    struct store store;
};

/* A route as it was added; publishers by name. */
struct lib_route {
    outbox_route_fn fn; /* or a header and its map */
    void *ctx;
    char *header;
    struct lib_target {
        char *value;
        char *publisher;
    } * targets;
    size_t n_targets;
};

struct outbox_router {
    struct lib_route *routes;
    size_t n_routes;
    char *fallback;
};

/* A publisher made from a function: a plugin of its own, which its instances find through their
 * host. */
struct lib_function {
    struct plugin plugin; /* first */
    outbox_publish_fn fn;
    void *ctx;
};

/* A route function of the router, as the core calls it. */
struct lib_route_call {
    outbox_route_fn fn;
    void *ctx;
    const struct config *config;
};

struct outbox_relay {
    pthread_mutex_t lock; /* of `relay` and `last`, for whoever counts meanwhile */
    struct config *config;
    struct log *log;
    struct lib_function **functions;
    size_t n_functions;
    struct lib_route_call *calls; /* one for each route */
    struct relay *relay;          /* NULL: not started, or stopped */
    struct outbox_relay_counts last;
};

/* lib_store.c: a plugin's options from settings; *ret for options_free. */
int lib_options(const struct plugin *plugin, const struct outbox_setting *settings,
                struct outbox_cfg **ret, struct outbox_err *err);

/* lib_function.c */
struct lib_function *lib_function_new(outbox_publish_fn fn, void *ctx);

#endif
