/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.h - plugins by kind and name: found, loaded once, negotiated, kept resident. */
#pragma once

#include "plugin/descriptor.h"

#include <stdbool.h>

/* The plugins of one folder, each loaded when it is first wanted. One thread at a time. What it
 * hands out lives as long as the set. */
struct plugin_set;

/* `dir` NULL: the folder of the build. */
struct plugin_set *plugin_set_new(const char *dir);
void plugin_set_free(struct plugin_set *set); /* by its last owner; modules stay in memory */
/* The same set for one more owner. */
struct plugin_set *plugin_set_share(struct plugin_set *set);
const char *plugin_set_dir(const struct plugin_set *set);

/*
 * The plugin, loaded and checked at the first call. Errors (OUTBOX_E_CONFIG) name the
 * file and what is wrong with it: not found (with the folder, and what is there of that
 * kind), bad name, file or folder writable by others, dlopen's own text, no entry, and
 * all that descriptor_negotiate says.
 */
int plugin_get(struct plugin_set *set, uint32_t kind, const char *name, const struct plugin **ret,
               struct outbox_err *err);

/* One of the set, or the layer that checks it? They have the path of one file. */
bool plugin_is_same(const struct plugin *a, const struct plugin *b);
/* Is the file another one than that which was loaded? A process cannot load it anew. */
bool plugin_is_replaced(const struct plugin *plugin);
/* The layer that watches a plugin of the set (checked.h), made at the first call; one that is not
 * of the set stays as it is. OUTBOX_OK or OUTBOX_E_RETRY. */
int plugin_watch(struct plugin_set *set, const struct plugin **plugin);

/* Which files the folder holds: for `plugins` and for messages. Sorted by kind, name. */
struct plugin_file {
    uint32_t kind;
    char name[64];
};
int plugin_files(const struct plugin_set *set, struct plugin_file **ret, size_t *ret_n,
                 struct outbox_err *err);

/* ---- how plugin.c finds a file and loads it ---- */

/*
 * The absolute path of DIR/FILE for free(). OUTBOX_E_CONFIG when a user other than root
 * and our own could have put it there: the file, its folder or a folder above is writable by
 * others (a sticky one above is accepted) or belongs to another user. OUTBOX_E_NOTSUP when
 * there is no such file.
 */
int trusted_path_find(const char *dir, const char *file, char **ret, struct outbox_err *err);

typedef void (*dso_symbol_fn)(void);

/*
 * Opens the module at an absolute path and finds a function in it. NULL *ret with OUTBOX_OK:
 * the module has no such symbol. The module stays in memory. Any thread.
 */
int dso_symbol(const char *path, const char *symbol, dso_symbol_fn *ret, struct outbox_err *err);
