/* SPDX-License-Identifier: Apache-2.0 */
/* liboutbox.h - the objects of <outbox/outbox.h> from inside. Only lib_*.c include it. */
#pragma once

#include "config/config.h"
#include "plugin/store.h"
#include "relay/relay.h"

#include <outbox/outbox.h>

#include <pthread.h>

struct outbox_store {
    struct plugin_set *plugins;
    struct outbox_cfg *options;
    struct store store;
};

/* The routes as the core has them. */
struct outbox_router {
    struct route_table table;
};

struct outbox_relay {
    pthread_mutex_t lock; /* of `relay` and `last`, which outbox_relay_count reads in any thread */
    struct config *config;
    struct log *log;
    struct function **functions; /* publishers made from functions */
    size_t n_functions;
    struct relay *relay; /* NULL: not started, or stopped */
    struct outbox_relay_counts last;
};

/* lib_store.c: a plugin's options from settings; *ret for options_free. */
int lib_options(const struct plugin *plugin, const struct outbox_setting *settings,
                struct outbox_cfg **ret, struct outbox_err *err);

/* Has the relay its router, after which no publisher may be added? */
static inline bool lib_has_router(const struct outbox_relay *relay)
{
    return relay->config->routes.publishers != NULL;
}
