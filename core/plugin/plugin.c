/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/plugin.h"

#include "base/suggest.h"
#include "plugin/dso.h"
#include "plugin/trusted_path.h"

#include <outbox/helpers.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct loaded {
    struct loaded *next;
    struct plugin plugin;
    char *name;
};

struct plugin_set {
    char *dir;
    struct loaded *loaded;
};

struct plugin_set *plugin_set_new(const char *dir)
{
    struct plugin_set *set = calloc(1, sizeof *set);
    if (set && !(set->dir = strdup(dir ? dir : PLUGINDIR))) {
        free(set);
        return NULL;
    }
    return set;
}

void plugin_set_free(struct plugin_set *set)
{
    if (!set)
        return;
    for (struct loaded *l = set->loaded, *next; l; l = next) {
        next = l->next;
        free(l->plugin.path);
        free(l->name);
        free(l);
    }
    free(set->dir);
    free(set);
}

const char *plugin_set_dir(const struct plugin_set *set)
{
    return set->dir;
}

/* Puts the file before a text that says what is wrong with it. */
static int blame(const char *path, int r, struct outbox_err *err)
{
    struct outbox_err inner = *err;
    return outbox_fail(err, r, "%s %s", path, inner.text);
}

static int load(const char *path, uint32_t kind, const char *name, struct plugin *ret,
                struct outbox_err *err)
{
    dso_symbol_fn symbol = NULL, other = NULL;
    int r = dso_symbol(path, OUTBOX_PLUGIN_SYMBOL, &symbol, err);
    if (r < 0)
        return blame(path, r, err);
    if (!symbol) {
        char next[sizeof OUTBOX_PLUGIN_SYMBOL + 8];
        snprintf(next, sizeof next, "outbox_plugin_v%d", OUTBOX_ABI_MAJOR + 1);
        r = dso_symbol(path, next, &other, err);
        if (r == 0 && other)
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "%s is built for plugin ABI %d, and this outboxd has %d.%d: upgrade "
                               "outboxd or install the plugin for it",
                               path, OUTBOX_ABI_MAJOR + 1, OUTBOX_ABI_MAJOR, OUTBOX_ABI_MINOR);
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s is not a plugin of outboxd: it has no function %s", path,
                           OUTBOX_PLUGIN_SYMBOL);
    }
    r = plugin_negotiate(((outbox_plugin_fn)symbol)(), kind, name, ret, err);
    return r < 0 ? blame(path, r, err) : r;
}

/* What is there instead, for the message. */
static int not_found(struct plugin_set *set, uint32_t kind, const char *name,
                     struct outbox_err *err)
{
    struct plugin_file *files = NULL;
    size_t n = 0;
    char there[256] = "";
    const char *near = NULL;
    uint32_t other = 0; /* another kind that has one of this name */
    if (plugin_files(set, &files, &n, NULL) == 0) {
        struct suggest nearest = suggest_for(name);
        for (size_t i = 0; i < n; i++) {
            size_t used = strlen(there);
            if (files[i].kind != kind) {
                if (strcmp(files[i].name, name) == 0)
                    other = files[i].kind;
                continue;
            }
            suggest_try(&nearest, files[i].name);
            snprintf(there + used, sizeof there - used, "%s%s", used ? ", " : "", files[i].name);
        }
        near = nearest.best;
    }
    int r;
    if (other)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "`%s` is a %s plugin, and a %s is wanted here%s%s%s",
                        name, plugin_kind_name(other), plugin_kind_name(kind),
                        there[0] ? " (there are: " : "", there, there[0] ? ")" : "");
    else
        r = outbox_fail(err, OUTBOX_E_CONFIG,
                        "there is no %s plugin `%s` (%s-%s.so) in %s%s%s%s%s%s%s; install the "
                        "package that has it, or correct the name",
                        plugin_kind_name(kind), name, plugin_kind_prefix(kind), name, set->dir,
                        there[0] ? " (there are: " : "", there, there[0] ? ")" : "",
                        near ? "; did you mean `" : "", near ? near : "", near ? "`" : "");
    free(files);
    return r;
}

int plugin_get(struct plugin_set *set, uint32_t kind, const char *name, const struct plugin **ret,
               struct outbox_err *err)
{
    for (struct loaded *l = set->loaded; l; l = l->next)
        if (l->plugin.desc.kind == kind && strcmp(l->name, name) == 0) {
            *ret = &l->plugin;
            return OUTBOX_OK;
        }
    if (!path_name_is_valid(name))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "`%.80s` cannot be a plugin's name; names match [a-z0-9-]{1,63}", name);
    char file[96];
    char *path = NULL;
    struct outbox_err why = {.size = sizeof why};
    snprintf(file, sizeof file, "%s-%s.so", plugin_kind_prefix(kind), name);
    int r = trusted_path_find(set->dir, file, &path, &why);
    if (r == OUTBOX_E_NOTSUP)
        return not_found(set, kind, name, err);
    if (r < 0)
        return outbox_fail(err, r, "%s", why.text);

    struct loaded *l = calloc(1, sizeof *l);
    if (!l || !(l->name = strdup(name)))
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory while loading %s", path);
    else if ((r = load(path, kind, name, &l->plugin, &why)) < 0)
        outbox_fail(err, r, "%s", why.text);
    if (r < 0) {
        free(path);
        if (l)
            free(l->name);
        free(l);
        return r;
    }
    l->plugin.path = path;
    l->next = set->loaded;
    set->loaded = l;
    *ret = &l->plugin;
    return OUTBOX_OK;
}

/* store-NAME.so, pub-NAME.so, rule-NAME.so; anything else in the folder is none of ours. */
static bool parse_file(const char *file, struct plugin_file *ret)
{
    size_t n = strlen(file);
    if (n < 4 || strcmp(file + n - 3, ".so") != 0)
        return false;
    for (uint32_t kind = OUTBOX_KIND_STORE; kind <= OUTBOX_KIND_RULE; kind++) {
        const char *prefix = plugin_kind_prefix(kind);
        size_t skip = strlen(prefix);
        if (strncmp(file, prefix, skip) != 0 || file[skip] != '-')
            continue;
        int len =
            snprintf(ret->name, sizeof ret->name, "%.*s", (int)(n - 3 - skip - 1), file + skip + 1);
        ret->kind = kind;
        return len > 0 && (size_t)len < sizeof ret->name && path_name_is_valid(ret->name);
    }
    return false;
}

static int compare_files(const void *a, const void *b)
{
    const struct plugin_file *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return strcmp(x->name, y->name);
}

int plugin_files(const struct plugin_set *set, struct plugin_file **ret, size_t *ret_n,
                 struct outbox_err *err)
{
    int r = OUTBOX_OK;
    struct plugin_file *files = NULL;
    size_t n = 0, room = 0;
    DIR *dir = opendir(set->dir);
    if (!dir)
        return outbox_fail(err, OUTBOX_E_CONFIG, "plugin folder %s: %m", set->dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct plugin_file file;
        if (!parse_file(entry->d_name, &file))
            continue;
        if (n == room) {
            room = room ? room * 2 : 16;
            struct plugin_file *grown = reallocarray(files, room, sizeof *files);
            if (!grown) {
                r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
                goto out;
            }
            files = grown;
        }
        files[n++] = file;
    }
    if (n > 0)
        qsort(files, n, sizeof *files, compare_files);
out:
    closedir(dir);
    if (r < 0) {
        free(files);
        return r;
    }
    *ret = files;
    *ret_n = n;
    return OUTBOX_OK;
}
