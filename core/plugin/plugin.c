/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/plugin.h"

#include "base/array.h"
#include "base/name.h"
#include "base/suggest.h"
#include "plugin/checked.h"

#include <outbox/helpers.h>

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct loaded {
    struct loaded *next;
    struct plugin plugin;         /* its name is the file's: descriptor_negotiate compares them */
    const struct plugin *checked; /* the layer around it; NULL: nobody wanted it */
};

struct plugin_set {
    _Atomic unsigned owners;
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
    if (set)
        set->owners = 1;
    return set;
}

struct plugin_set *plugin_set_share(struct plugin_set *set)
{
    atomic_fetch_add(&set->owners, 1);
    return set;
}

void plugin_set_free(struct plugin_set *set)
{
    if (!set || atomic_fetch_sub(&set->owners, 1) > 1)
        return;
    for (struct loaded *l = set->loaded, *next; l; l = next) {
        next = l->next;
        checked_plugin_free(l->checked);
        free(l->plugin.path);
        free(l);
    }
    free(set->dir);
    free(set);
}

const char *plugin_set_dir(const struct plugin_set *set)
{
    return set->dir;
}

/* What a module is that has no entry function of our ABI. */
static int foreign(const char *path, struct outbox_err *err)
{
    char next[sizeof OUTBOX_PLUGIN_SYMBOL + 8];
    dso_symbol_fn symbol = NULL;
    snprintf(next, sizeof next, "outbox_plugin_v%d", OUTBOX_ABI_MAJOR + 1);
    if (dso_symbol(path, next, &symbol, NULL) == 0 && symbol)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "is built for plugin ABI %d, and this outboxd has %d.%d: upgrade "
                           "outboxd or install the plugin for it",
                           OUTBOX_ABI_MAJOR + 1, OUTBOX_ABI_MAJOR, OUTBOX_ABI_MINOR);
    return outbox_fail(err, OUTBOX_E_CONFIG, "is not a plugin of outboxd: it has no function %s",
                       OUTBOX_PLUGIN_SYMBOL);
}

static int load(const char *path, uint32_t kind, const char *name, struct plugin *ret,
                struct outbox_err *err)
{
    struct outbox_err why = {.size = sizeof why};
    dso_symbol_fn symbol = NULL;
    int r = dso_symbol(path, OUTBOX_PLUGIN_SYMBOL, &symbol, &why);
    if (r == 0)
        r = symbol ? descriptor_negotiate(((outbox_plugin_fn)symbol)(), kind, name, ret, &why)
                   : foreign(path, &why);
    return r < 0 ? outbox_fail(err, r, "%s %s", path, why.text) : OUTBOX_OK;
}

/* What to do about a plugin that is not there: one of outboxd's own is in a package of its name. */
static void advise(uint32_t kind, const char *name, char *ret, size_t cap)
{
    char own[96];
    int n = snprintf(own, sizeof own, " %s-%s ", descriptor_kind_prefix(kind), name);
    if (!strstr(OWN_PLUGINS, own))
        snprintf(ret, cap, "install the package that has it, or correct the name");
    else
        snprintf(ret, cap, "install the package outboxd-%.*s, or build it: --enable-%.*s", n - 2,
                 own + 1, n - 2, own + 1);
}

/* The error for a name without a file; it lists what is there instead. */
static int not_found(struct plugin_set *set, uint32_t kind, const char *name,
                     struct outbox_err *err)
{
    struct plugin_file *files = NULL;
    size_t n = 0;
    char there[256] = "", advice[256];
    uint32_t other = 0; /* another kind that has one of this name */
    struct suggest similar = suggest_for(name);
    (void)plugin_files(set, &files, &n, NULL); /* without them the error lists none */
    for (size_t i = 0; i < n; i++) {
        size_t used = strlen(there);
        if (files[i].kind == kind) {
            suggest_try(&similar, files[i].name);
            snprintf(there + used, sizeof there - used, "%s%s",
                     used ? ", " : " (there are: ", files[i].name);
        } else if (strcmp(files[i].name, name) == 0) {
            other = files[i].kind;
        }
    }
    const char *end = there[0] ? ")" : "";
    advise(kind, name, advice, sizeof advice);
    int r = other ? outbox_fail(err, OUTBOX_E_CONFIG,
                                "`%s` is a %s plugin, and a %s is wanted here%s%s", name,
                                descriptor_kind_name(other), descriptor_kind_name(kind), there, end)
                  : outbox_fail(err, OUTBOX_E_CONFIG,
                                "there is no %s plugin `%s` (%s-%s.so) in %s%s%s; %s%s",
                                descriptor_kind_name(kind), name, descriptor_kind_prefix(kind),
                                name, set->dir, there, end, advice, suggest_hint(&similar));
    free(files);
    return r;
}

int plugin_get(struct plugin_set *set, uint32_t kind, const char *name, const struct plugin **ret,
               struct outbox_err *err)
{
    for (struct loaded *l = set->loaded; l; l = l->next)
        if (l->plugin.desc.kind == kind && strcmp(l->plugin.desc.name, name) == 0) {
            *ret = &l->plugin;
            return OUTBOX_OK;
        }
    char file[96];
    char *path = NULL;
    int r = name_check(name, "a plugin", err);
    if (r < 0)
        return r;
    snprintf(file, sizeof file, "%s-%s.so", descriptor_kind_prefix(kind), name);
    r = trusted_path_find(set->dir, file, &path, err);
    if (r == OUTBOX_E_NOTSUP)
        return not_found(set, kind, name, err);
    if (r < 0)
        return r;
    struct loaded *l = calloc(1, sizeof *l);
    r = l ? load(path, kind, name, &l->plugin, err)
          : outbox_fail(err, OUTBOX_E_RETRY, "out of memory while loading %s", path);
    if (r < 0) {
        free(path);
        free(l);
        return r;
    }
    l->plugin.path = path;
    if (stat(path, &l->plugin.file) < 0)
        l->plugin.file = (struct stat){0}; /* somebody is replacing it right now */
    l->next = set->loaded;
    set->loaded = l;
    *ret = &l->plugin;
    return OUTBOX_OK;
}

bool plugin_is_same(const struct plugin *a, const struct plugin *b)
{
    return a == b || (a->path && a->path == b->path);
}

bool plugin_is_replaced(const struct plugin *plugin)
{
    const struct stat *then = &plugin->file;
    struct stat now;
    return plugin->path && stat(plugin->path, &now) == 0 &&
           (now.st_dev != then->st_dev || now.st_ino != then->st_ino ||
            now.st_mtim.tv_sec != then->st_mtim.tv_sec ||
            now.st_mtim.tv_nsec != then->st_mtim.tv_nsec);
}

int plugin_watch(struct plugin_set *set, const struct plugin **plugin)
{
    struct loaded *l = set->loaded;
    while (l && &l->plugin != *plugin)
        l = l->next;
    if (!l)
        return OUTBOX_OK;
    int r = l->checked ? OUTBOX_OK : checked_plugin_new(&l->plugin, NULL, &l->checked);
    if (r == OUTBOX_OK)
        *plugin = l->checked;
    return r;
}

/* store-NAME.so, pub-NAME.so, rule-NAME.so; anything else in the folder is none of ours. */
static bool parse_file(const char *file, struct plugin_file *ret)
{
    char prefix[8];
    int end = 0;
    /* %n is reached only if all before it is there */
    sscanf(file, "%7[a-z]-%63[a-z0-9-].so%n", prefix, ret->name, &end);
    if (end == 0 || file[end])
        return false;
    for (ret->kind = OUTBOX_KIND_STORE; ret->kind <= OUTBOX_KIND_RULE; ret->kind++)
        if (strcmp(prefix, descriptor_kind_prefix(ret->kind)) == 0)
            return true;
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
    size_t n = 0;
    DIR *dir = opendir(set->dir);
    if (!dir && errno == ENOENT && strcmp(set->dir, PLUGINDIR) == 0) {
        *ret = NULL; /* the folder of the installation comes with the first plugin */
        *ret_n = 0;
        return OUTBOX_OK;
    }
    if (!dir)
        return outbox_fail(err, OUTBOX_E_CONFIG, "plugin folder %s: %m", set->dir);
    for (struct dirent *entry; r == 0 && (entry = readdir(dir));) {
        struct plugin_file file;
        if (!parse_file(entry->d_name, &file))
            continue;
        struct plugin_file *added = array_add(&files, &n, sizeof *files);
        if (added)
            *added = file;
        else
            r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    closedir(dir);
    if (r < 0) {
        free(files);
        return r;
    }
    if (n > 0)
        qsort(files, n, sizeof *files, compare_files);
    *ret = files;
    *ret_n = n;
    return OUTBOX_OK;
}
