/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.h - plugins by kind and name: found, loaded once, negotiated, kept resident. */
#ifndef CORE_PLUGIN_PLUGIN_H
#define CORE_PLUGIN_PLUGIN_H

#include <outbox/plugin.h>

#include <stddef.h>

/* Ready for use. Everything in here lives as long as its plugin_set. */
struct plugin {
    struct outbox_plugin desc; /* the smaller of both sizes copied, the rest zero */
    char *path;                /* the file; NULL for one made from a descriptor */
    union {                    /* likewise; which one says desc.kind */
        struct outbox_store_ops store;
        struct outbox_publisher_ops publisher;
        struct outbox_rule_ops rule;
    } ops;
};

/* All plugins of one folder that were asked for so far. One thread at a time. */
struct plugin_set;

/* `dir` NULL: the folder of the build. */
struct plugin_set *plugin_set_new(const char *dir);
void plugin_set_free(struct plugin_set *set); /* modules stay in memory */
const char *plugin_set_dir(const struct plugin_set *set);

/*
 * The plugin, loaded and checked at the first call. Errors (OUTBOX_E_CONFIG) name the
 * file and what is wrong with it: not found (with the folder, and what is there of that
 * kind), bad name, file or folder writable by others, dlopen's own text, no entry, and
 * all that plugin_negotiate says.
 */
int plugin_get(struct plugin_set *set, uint32_t kind, const char *name, const struct plugin **ret,
               struct outbox_err *err);

/*
 * Checks a descriptor and copies it: NULL, short size, wrong kind, wrong name, needs a
 * newer host, missing operations, options badly declared (bad or duplicate or reserved name,
 * unknown type, default or choices that do not fit). `kind` 0 and `name` NULL: any.
 */
int plugin_negotiate(const struct outbox_plugin *desc, uint32_t kind, const char *name,
                     struct plugin *ret, struct outbox_err *err);

/* Which files the folder holds: for `plugins` and for messages. Sorted by kind, name. */
struct plugin_file {
    uint32_t kind;
    char name[64];
};
int plugin_files(const struct plugin_set *set, struct plugin_file **ret, size_t *ret_n,
                 struct outbox_err *err);

const char *plugin_kind_name(uint32_t kind);   /* "store", "publisher", "rule" */
const char *plugin_kind_prefix(uint32_t kind); /* "store", "pub", "rule" */

/* The i-th option of a plugin, by its stride. */
const struct outbox_option *plugin_option(const struct plugin *plugin, size_t i);
/* By a name of n bytes; NULL: it declares none. */
const struct outbox_option *plugin_find_option(const struct plugin *plugin, const char *name,
                                               size_t n);

#endif
