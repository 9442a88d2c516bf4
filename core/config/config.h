/* SPDX-License-Identifier: Apache-2.0 */
/* config.h - the configuration file, read and checked as a whole. */
#ifndef CORE_CONFIG_CONFIG_H
#define CORE_CONFIG_CONFIG_H

#include "base/log.h"
#include "plugin/options.h"
#include "plugin/plugin.h"
#include "route/router.h"

/* How batches of one publisher are worked; [relay] has the defaults. Times in ms. */
struct delivery {
    uint32_t batch_size;
    uint32_t max_retries;
    int64_t batch_timeout_ms;
    int64_t retry_min_ms;
    int64_t retry_max_ms;
};

struct publisher_config {
    char *name;
    int line;
    const struct plugin *plugin;
    struct outbox_cfg *options;
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
    int64_t lease_ms;
    int64_t poll_interval_ms;
    int64_t retention_ms;        /* 0: delete on success; OUTBOX_NEVER: keep */
    int64_t retention_failed_ms; /* OUTBOX_NEVER: keep */
    int64_t shutdown_timeout_ms;
    int ordering;  /* index of none, key */
    int on_failed; /* index of skip, block */
    /* [store] */
    int store_line;
    const struct plugin *store_plugin;
    struct outbox_cfg *store_options;
    /* [publisher NAME], in the order of the file */
    struct publisher_config *publishers;
    size_t n_publishers;
    /* [route NAME] and [router] */
    struct route_table routes;
    int unrouted_fail; /* unrouted = fail */
    /* [log] */
    int log_level;
    int log_format; /* enum log_format */
    /* of everything that decides where messages go: equal files, equal hashes */
    char hash[17];

    struct plugin_set *plugins;
};

/* Every mistake, one call each, in the order of the lines; line 0: the file as a whole. */
typedef void (*config_report)(void *ctx, const char *file, int line, const char *text);

/*
 * Reads, checks, loads the plugins named, and validates their options. All mistakes are
 * reported, not only the first. Returns 0 and *ret, OUTBOX_E_CONFIG, or OUTBOX_E_RETRY when
 * there was not the memory to tell. Nothing connects.
 */
int config_load(const char *file, config_report report, void *ctx, struct config **ret);
void config_free(struct config *config);

/* For configurations made in code: everything at its default, NULL without memory; and, when all
 * publishers and routes are there, the tables that hang on them (0 or OUTBOX_E_RETRY). */
struct config *config_new(const char *file);
int config_finish(struct config *config);
/* Are its numbers in the ranges that they have in the file? 0 or OUTBOX_E_CONFIG. */
int config_check_numbers(const struct config *config, struct outbox_err *err);

/* Only [relay] plugin_dir, whatever else is wrong with the file. *ret for free(), NULL: not set. */
int config_plugin_dir(const char *file, config_report report, void *ctx, char **ret);

#define CONFIG_DEFAULT_FILE SYSCONFDIR "/outboxd/outboxd.ini"

#endif
