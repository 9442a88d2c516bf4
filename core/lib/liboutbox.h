/* SPDX-License-Identifier: Apache-2.0 */
/* liboutbox.h - the objects of <outbox/outbox.h> from inside. Only lib_*.c include it. */
#pragma once

#include "config/config.h"
#include "plugin/store.h"
#include "relay/relay.h"

#include <outbox/outbox.h>

#include <pthread.h>

/* ---- lib_options.c ---- */

int lib_out_of_memory(struct outbox_err *err);

/* A plugin's options from settings; *ret for options_free. */
int lib_options(const struct plugin *plugin, const struct outbox_setting *settings,
                struct outbox_cfg **ret, struct outbox_err *err);

/* Are its own time-outs shorter than the time of a batch? OUTBOX_E_CONFIG: no. */
int lib_check_timeouts(const struct plugin *plugin, const struct outbox_cfg *options,
                       int64_t batch_timeout_ms, struct outbox_err *err);

/* Copies a struct of the caller's, whatever its version, to *ret of `ours` bytes. OUTBOX_E_CONFIG:
 * it has fewer than `least` bytes, or sets what this version does not have. `what` is its name. */
int lib_take(const char *what, const void *given, size_t least, size_t ours, void *ret,
             struct outbox_err *err);
/* Copies a struct for the caller to *ret, as much of it as that has room for. */
int lib_give(const char *what, const void *ours, size_t n, void *ret, struct outbox_err *err);

/* ---- lib_log.c ---- */

/* A function of the application as a log's sink. */
struct lib_sink {
    outbox_log_fn fn; /* NULL: nothing is logged */
    void *ctx;
};
/* A log that goes to the sink, which must outlive it; NULL without memory. */
struct log *lib_log_new(struct lib_sink *sink, int level);

/* ---- lib_store_ops.c ---- */

/* A store plugin made from functions; its instances find it through struct instance. */
struct lib_store_ops {
    struct plugin plugin; /* first */
    struct outbox_store_ops ops;
    void *ctx;
};
int lib_store_ops_new(const struct outbox_store_ops *ops, void *ctx, struct lib_store_ops **ret,
                      struct outbox_err *err);

/* ---- lib_store.c: calls on a store take an instance from its pool ---- */

struct lib_store_instance {
    struct lib_store_instance *next;
    struct store store;
};

struct outbox_store {
    struct plugin_set *plugins;
    struct outbox_cfg *options;
    struct lib_store_ops *functions; /* NULL: it is a plugin */
    struct shared_state *shared;
    struct lib_sink sink;
    struct log *log;
    const struct plugin *plugin;
    pthread_mutex_t lock; /* of `idle` */
    struct lib_store_instance *idle;
};

int lib_store_enter(struct outbox_store *s, struct lib_store_instance **ret,
                    struct outbox_err *err);
void lib_store_leave(struct outbox_store *s, struct lib_store_instance *instance);

/* ---- lib_outcome.c ---- */

/* An outcome with memory for its reason. `reserved` of the first marks it. */
struct lib_outcome {
    struct outbox_outcome abi; /* first */
    char *text;
};

/* Zeroed at first; for lib_outcomes_clear. */
struct lib_outcomes {
    size_t size;
    struct lib_outcome *all;
    struct outbox_outcome **ptrs;
};
/* Room for n outcomes, unset; false without memory. Reasons of before are gone. */
bool lib_outcomes_begin(struct lib_outcomes *outcomes, uint64_t n);
void lib_outcomes_clear(struct lib_outcomes *outcomes);

/* ---- lib_function.c: publishers made from functions ---- */

struct lib_function;
int lib_function_new(outbox_publish_fn fn, void *ctx, struct lib_function **ret,
                     struct outbox_err *err);
/* Calls the function's own close. NULL is allowed. */
void lib_function_free(struct lib_function *function);
const struct plugin *lib_function_plugin(const struct lib_function *function);
/* Its check, close and concurrency. */
int lib_function_set(struct lib_function *function, const struct outbox_publisher_options *options,
                     struct outbox_err *err);

/* ---- routers and relays ---- */

/* The routes as the core has them. */
struct outbox_router {
    struct route_table table;
    bool failed; /* a route was not added, without memory */
};

struct outbox_relay {
    pthread_mutex_t lock; /* of `relay` and `last`, which outbox_relay_count reads in any thread */
    struct config *config;
    struct lib_sink sink;
    struct log *log;
    struct lib_store_ops *store_functions;
    struct lib_function **functions; /* publishers made from functions */
    size_t n_functions;
    struct relay *relay;   /* NULL: not started, or stopped */
    struct store *counted; /* an instance of its store that counts rows; NULL: none yet */
    struct outbox_relay_counts last;
};

/* lib_configure.c: makes the model of what the options say. */
int lib_configure(struct outbox_relay *relay, const struct outbox_relay_options *options,
                  struct outbox_err *err);
/* lib_run.c */
void lib_close_counted(struct outbox_relay *relay);

/* Has the relay its router, after which no publisher may be added? */
static inline bool lib_has_router(const struct outbox_relay *relay)
{
    return relay->config->routes.publishers != NULL;
}
