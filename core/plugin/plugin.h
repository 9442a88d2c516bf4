/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.h - plugins by kind and name: found, loaded once, negotiated, kept resident. */
#ifndef CORE_PLUGIN_PLUGIN_H
#define CORE_PLUGIN_PLUGIN_H

#include "plugin/descriptor.h"

/* The plugins of one folder, each loaded when it is first wanted. One thread at a time. What it
 * hands out lives as long as the set. */
struct plugin_set;

/* `dir` NULL: the folder of the build. */
struct plugin_set *plugin_set_new(const char *dir);
void plugin_set_free(struct plugin_set *set); /* modules stay in memory */
const char *plugin_set_dir(const struct plugin_set *set);

/*
 * The plugin, loaded and checked at the first call. Errors (OUTBOX_E_CONFIG) name the
 * file and what is wrong with it: not found (with the folder, and what is there of that
 * kind), bad name, file or folder writable by others, dlopen's own text, no entry, and
 * all that negotiate_plugin says.
 */
int plugin_get(struct plugin_set *set, uint32_t kind, const char *name, const struct plugin **ret,
               struct outbox_err *err);

/* Which files the folder holds: for `plugins` and for messages. Sorted by kind, name. */
struct plugin_file {
    uint32_t kind;
    char name[64];
};
int plugin_files(const struct plugin_set *set, struct plugin_file **ret, size_t *ret_n,
                 struct outbox_err *err);

#endif
