/* SPDX-License-Identifier: Apache-2.0 */
/* config.h - the model of a configuration, whether read from a file (load.h) or made in code. */
#pragma once

#include "plugin/delivery.h"
#include "plugin/options.h"
#include "plugin/plugin.h"
#include "plugin/publisher.h"
#include "plugin/shared_state.h"
#include "plugin/store.h"
#include "route/route.h"

/* The core's own sections: [relay], [router], [log]. */
#define N_SETTINGS 3

struct publisher_config {
    char *name;
    int line;
    const struct plugin *plugin;
    struct outbox_cfg *options;
    struct shared_state *shared; /* of its instances */
    struct delivery delivery;
};

struct config {
    char *file;
    /* [relay] */
    char *name;
    char *plugin_dir; /* NULL: the folder of the build */
    uint32_t workers;
    struct delivery delivery;
    uint64_t batch_bytes;
    uint64_t max_message;
    uint32_t max_headers;
    uint64_t max_header_bytes;
    int64_t lease_ms;
    int64_t poll_interval_ms;
    int64_t retention_ms;        /* 0: delete on success; OUTBOX_NEVER: keep */
    int64_t retention_failed_ms; /* OUTBOX_NEVER: keep */
    int64_t shutdown_timeout_ms;
    bool check_plugins; /* watch what plugins do, see plugin/checked.h */
    int ordering;       /* index of none, key */
    int on_failed;      /* index of skip, block */
    /* [store] */
    int store_line;
    const struct plugin *store_plugin;
    struct outbox_cfg *store_options;
    struct shared_state *store_shared;
    /* [publisher NAME], in the order of the file */
    struct publisher_config *publishers;
    size_t n_publishers;
    /* [route NAME] and [router]; its publishers from config_finish on */
    struct route_table routes;
    int unrouted_fail; /* unrouted = fail */
    /* [log] */
    int log_level;  /* OUTBOX_LOG_ */
    int log_format; /* enum log_format */
    /* of everything that decides where messages go: equal files, equal hashes */
    char hash[17];

    struct plugin_set *plugins;
    struct outbox_cfg *settings[N_SETTINGS]; /* the core's own sections, as they were read */
};

/* Everything at its default; NULL without memory. */
struct config *config_new(const char *file);
void config_free(struct config *config);

/* Appends a publisher with the defaults of [relay]; NULL without memory. Its address changes when
 * another is added. */
struct publisher_config *config_add_publisher(struct config *config, const char *name);
/* The index of a publisher, or ROUTE_NONE; then all names were offered to `similar` (may be NULL).
 */
size_t config_find_publisher(const struct config *config, const char *name,
                             struct suggest *similar);

/* Is the value of an option of type PUBLISHER, if it has one, the name of a publisher? If not,
 * OUTBOX_E_CONFIG, with the most similar name in the text. */
int config_check_publisher(const struct config *config, const struct outbox_cfg *cfg,
                           const struct outbox_option *option, struct outbox_err *err);
/* All options of the store and the publishers, once these are there. */
int config_check_publishers(const struct config *config, struct outbox_err *err);

/* An instance of the store, or of a publisher, with what its section says. */
int config_open_store(const struct config *config, struct store *store, struct log *log,
                      struct outbox_err *err);
/* Without opening it: its first call does. */
void config_init_publisher(const struct publisher_config *p, struct publisher *publisher,
                           struct log *log);
int config_open_publisher(const struct publisher_config *p, struct publisher *publisher,
                          struct log *log, struct outbox_err *err);

/* ---- changes.c: a configuration that follows another one in a running relay ---- */

/* The index of the earlier publisher whose instances can go on as those of publisher `i`, or
 * ROUTE_NONE. Only the terms of delivery may differ, but not batch_timeout, which instances know.
 */
size_t config_kept_publisher(const struct config *before, const struct config *after, size_t i);
/* The same for the store; and has the relay the same name? Then it is the same relay to others. */
bool config_keeps_store(const struct config *before, const struct config *after);
/* Shares what such instances were opened with. */
void config_share(struct config *config, const struct config *before);
/* Says what is different, one line a part; also what is not, of parts that have connections.
 * Returns how many differ. */
size_t config_compare(const struct config *before, const struct config *after,
                      void (*tell)(void *ctx, const char *text), void *ctx);

/* Do two routes send the same messages to the same places? */
bool config_same_route(const struct route *a, const struct route *b);

/* When all publishers and routes are there: the tables that hang on them. OUTBOX_OK or
 * OUTBOX_E_RETRY. */
int config_finish(struct config *config);

/* A section of the core's own as a table of options, and its way into the model (settings.c). */
struct settings {
    size_t index; /* of config.settings */
    const char *section;
    struct plugin options; /* only its descriptor: as if a plugin had declared them */
    /* Copies the values; OUTBOX_OK or OUTBOX_E_RETRY. */
    int (*apply)(const struct outbox_cfg *cfg, struct config *config);
};
/* [relay], [router], [log] */
extern const struct settings settings_relay, settings_router, settings_log;

/* All of them at their defaults. */
int settings_apply_defaults(struct config *config);
