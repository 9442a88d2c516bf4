/* SPDX-License-Identifier: Apache-2.0 */
#include "config/load.h"

#include "base/file.h"
#include "config/section.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (16 << 20)
#define NO_STORE "there is no [store] section; it says where the messages are"

/* ---- kinds of sections ---- */

/*
 * In the order in which they are read, wherever they stand in the file: [relay] has the defaults of
 * publishers and the folder of plugins, and routes name publishers. unknown_section takes the first
 * of equally similar ones, so that those without a name come first where they can.
 */
static const struct kind {
    const char *kind;
    bool named;                            /* [KIND NAME] */
    void (*read)(const struct section *s); /* NULL: not supported yet */
    const char *missing;                   /* the mistake when there is none, or NULL */
} kinds[] = {
    {"relay", false, section_relay, NULL},
    {"store", false, plugin_section_store, NO_STORE},
    {"http", false, NULL, NULL},
    {"log", false, section_log, NULL},
    {"publisher", true, plugin_section_publisher,
     "there is no [publisher NAME] section; it says where the messages go"},
    {"router", false, route_section_router, NULL},
    {"route", true, route_section_route, NULL},
};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

/* The kind of a section, or NULL. Sets the section's name. */
static const struct kind *find_kind(struct section *s)
{
    for (size_t i = 0; i < N_KINDS; i++) {
        size_t n = strlen(kinds[i].kind);
        if (strncmp(s->ini->name, kinds[i].kind, n) != 0 ||
            s->ini->name[n] != (kinds[i].named ? ' ' : '\0'))
            continue;
        s->name = s->ini->name + n + kinds[i].named;
        return &kinds[i];
    }
    return NULL;
}

/*
 * Suggests a section: the kind most similar to the first word, with the name that follows it if the
 * kind has one. A kind written right that lacks its name is another mistake than a wrong kind.
 */
static void unknown_section(struct diagnostics *diag, const struct ini_section *section)
{
    char first[64], meant[160];
    size_t n = strcspn(section->name, " ");
    const char *name = section->name + n; /* with the space before it, or empty */
    snprintf(first, sizeof first, "%.*s", (int)n, section->name);
    struct suggest similar = suggest_for(first), whole = suggest_for(section->name);
    for (size_t i = 0; i < N_KINDS; i++) {
        const char *best = similar.best;
        suggest_try(&similar, kinds[i].kind);
        if (similar.best == best)
            continue;
        snprintf(meant, sizeof meant, "%s%.64s", similar.best,
                 !kinds[i].named ? ""
                 : *name         ? name
                                 : " NAME");
        whole.best = meant;
        if (kinds[i].named && strcmp(first, kinds[i].kind) == 0) {
            diag_error(diag, section->line, "[%s] needs a name: [%s NAME]", first, first);
            return;
        }
    }
    diag_error(diag, section->line, "unknown section [%.80s]%s", section->name,
               suggest_hint(&whole));
}

/* ---- the file ---- */

struct load {
    struct file file;
    struct ini *ini;
    struct diagnostics diag;
    const struct config *before; /* of the same file; NULL: none */
};

/* Reads the file into sections, as far as it is readable. */
static void begin(struct load *l, const char *file)
{
    struct outbox_err err = {.size = sizeof err};
    *l = (struct load){0};
    int r = file_read(file, FILE_MAX, &l->file, &err);
    if (r == OUTBOX_E_NOTSUP)
        diag_error(&l->diag, 0, "%s; write it, or name another one with -c", err.text);
    else if (diag_check(&l->diag, 0, NULL, r, &err))
        diag_memory(&l->diag, ini_read(l->file.text, l->file.n, &l->diag, &l->ini) == 0);
}

/* It names programs and the folder of plugins, which run with the rights of whoever reads it. */
static void check_writable(struct load *l)
{
    if (l->ini && l->file.others_write)
        diag_error(&l->diag, 0,
                   "can be written by others (mode %04o), who could name programs to run; take "
                   "that away (chmod go-w)",
                   (unsigned)l->file.mode);
}

/* Reports the mistakes, and forgets what `begin` read. Takes the config, also when it fails. */
static int end(struct load *l, const char *file, diag_report_fn report, void *ctx,
               struct config *config, struct config **ret)
{
    int r = diag_result(&l->diag);
    diag_report(&l->diag, file, report, ctx);
    diag_clear(&l->diag);
    ini_free(l->ini);
    file_forget(&l->file);
    if (r < 0)
        config_free(config);
    else
        *ret = config;
    return r;
}

static struct section section_at(struct load *l, size_t i, struct config *config)
{
    return (struct section){&l->ini->sections[i], NULL, l->file.mode, config, &l->diag};
}

/* ---- all of it ---- */

/* The plugins of one folder are those of the configuration before. */
static struct plugin_set *plugins_for(const struct load *l, const char *dir)
{
    struct plugin_set *before = l->before ? l->before->plugins : NULL;
    if (before && strcmp(plugin_set_dir(before), dir ? dir : PLUGINDIR) == 0)
        return plugin_set_share(before);
    return plugin_set_new(dir);
}

static void read_sections(struct load *l, struct config *config)
{
    bool seen[N_KINDS] = {false};
    for (size_t k = 0; k < N_KINDS; k++) {
        for (size_t i = 0; !l->diag.no_memory && i < l->ini->n_sections; i++) {
            struct section s = section_at(l, i, config);
            const struct kind *kind = find_kind(&s);
            if (s.ini->unreadable || (kind && kind != &kinds[k]))
                continue;
            seen[k] |= kind != NULL;
            if (!kind && k == 0)
                unknown_section(&l->diag, s.ini);
            else if (kind && kind->read)
                kind->read(&s);
            else if (kind)
                diag_error(&l->diag, s.ini->line, "[%s] is not supported yet", s.ini->name);
        }
        if (k == 0) /* plugin_dir is known from here on */
            diag_memory(&l->diag, (config->plugins = plugins_for(l, config->plugin_dir)));
    }
    for (size_t i = 0; i < N_KINDS; i++)
        if (kinds[i].missing && !seen[i])
            diag_error(&l->diag, 1, "%s", kinds[i].missing);
    plugin_section_check_publishers(config, &l->diag);
}

int load_config(const char *file, diag_report_fn report, void *ctx, struct config **ret)
{
    return load_config_again(file, NULL, report, ctx, ret);
}

int load_config_again(const char *file, const struct config *before, diag_report_fn report,
                      void *ctx, struct config **ret)
{
    struct load l;
    begin(&l, file);
    l.before = before;
    check_writable(&l);
    struct config *config = config_new(file);
    diag_memory(&l.diag, config);
    if (l.ini && config)
        read_sections(&l, config);
    if (diag_result(&l.diag) == 0)
        diag_memory(&l.diag, config_finish(config) == 0);
    return end(&l, file, report, ctx, config, ret);
}

/* ---- parts of it ---- */

/* [relay] plugin_dir for free(); NULL: not set, or a mistake. */
static char *read_plugin_dir(struct load *l)
{
    for (size_t i = 0; i < l->ini->n_sections; i++) {
        const struct section s = section_at(l, i, NULL);
        const struct ini_entry *entry =
            strcmp(s.ini->name, "relay") == 0 ? section_find(&s, "plugin_dir") : NULL;
        if (entry)
            return section_text(&s, entry);
    }
    return NULL;
}

/* Forgets the mistakes of form in all sections but [store]. */
static void forget_others(struct load *l)
{
    const struct ini_section *sections = l->ini->sections;
    size_t n = l->ini->n_sections;
    for (size_t i = 0; i <= n; i++) { /* 0: before the first section */
        int from = i > 0 ? sections[i - 1].line : 1;
        int to = i < n ? sections[i].line - 1 : INT_MAX;
        if (i == 0 || strcmp(sections[i - 1].name, "store") != 0)
            diag_forget(&l->diag, from, to);
    }
}

static void read_store(struct load *l, struct config *config)
{
    forget_others(l);
    check_writable(l);
    config->plugin_dir = read_plugin_dir(l);
    diag_memory(&l->diag, (config->plugins = plugin_set_new(config->plugin_dir)));
    for (size_t i = 0; !l->diag.no_memory && i < l->ini->n_sections; i++) {
        struct section s = section_at(l, i, config);
        const struct kind *kind = find_kind(&s);
        if (s.ini->unreadable || !kind)
            continue;
        if (kind->read == plugin_section_store)
            kind->read(&s);
        else if (kind->read == plugin_section_publisher)
            diag_memory(&l->diag, config_add_publisher(config, s.name));
    }
    if (!config->store_line)
        diag_error(&l->diag, 1, NO_STORE);
}

int load_store(const char *file, diag_report_fn report, void *ctx, struct config **ret)
{
    struct load l;
    begin(&l, file);
    struct config *config = config_new(file);
    diag_memory(&l.diag, config);
    if (l.ini && config)
        read_store(&l, config);
    return end(&l, file, report, ctx, config, ret);
}

int load_plugin_dir(const char *file, diag_report_fn report, void *ctx, char **ret)
{
    struct load l;
    struct config *none;
    begin(&l, file);
    *ret = NULL;
    if (l.ini) {
        diag_clear(&l.diag); /* other mistakes of the file do not matter here */
        check_writable(&l);
        *ret = read_plugin_dir(&l);
    }
    int r = end(&l, file, report, ctx, NULL, &none);
    if (r < 0) {
        free(*ret);
        *ret = NULL;
    }
    return r;
}
