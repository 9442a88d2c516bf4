/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/setup.h"

#include "base/array.h"
#include "base/file.h"
#include "base/name.h"
#include "config/section.h"
#include "plugin/option_value.h"

#include <outbox/helpers.h>

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (1 << 20)

/* ---- the plugin's file ---- */

int setup_plugin(struct setup *s, const char *so, struct outbox_err *err)
{
    char *copy = realpath(so, NULL), prefix[8] = "";
    int end = 0;
    if (!copy)
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s: %m", so);
    const char *file = strrchr(copy, '/') + 1;
    /* %n is reached only if all before it is there. */
    sscanf(file, "%7[a-z]-%63[a-z0-9-].so%n", prefix, s->name, &end);
    s->kind = 0;
    for (uint32_t kind = OUTBOX_KIND_STORE; end > 0 && !file[end] && kind <= OUTBOX_KIND_RULE;
         kind++)
        if (strcmp(prefix, descriptor_kind_prefix(kind)) == 0)
            s->kind = kind;
    int r = s->kind ? OUTBOX_OK
                    : outbox_fail(err, OUTBOX_E_CONFIG,
                                  "%s is not the name of a plugin: store-NAME.so, pub-NAME.so or "
                                  "rule-NAME.so, NAME with [a-z0-9-]",
                                  file);
    s->dir = strdup(dirname(copy));
    free(copy);
    return s->dir ? r : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
}

/* ---- our own sections ---- */

#define COMMAND(name, help)                                   \
    {                                                         \
        name, NULL, help, NULL, 1, 4096, OPTION_VALUE_LINE, 0 \
    }
#define TIME(name, deflt, min, max)                               \
    {                                                             \
        name, deflt, NULL, NULL, min, max, OUTBOX_OPT_DURATION, 0 \
    }
static const struct outbox_option conform_keys[] = {
    {"scratch", "no", NULL, NULL, 0, 0, OUTBOX_OPT_BOOL, 0},
    COMMAND("verify", NULL),
    COMMAND("sql", NULL),
    TIME("soak", "60s", 1000, INT64_C(86400000)),
    TIME("comes_back", "30s", 100, INT64_C(3600000)),
};
static const struct outbox_option kill_keys[] = {COMMAND("stop", NULL), COMMAND("start", NULL)};
#define KEYS(table)                                      \
    {                                                    \
        .desc = {                                        \
            .options = table,                            \
            .n_options = sizeof table / sizeof table[0], \
            .option_stride = sizeof table[0]             \
        }                                                \
    }
static const struct plugin conform_table = KEYS(conform_keys), kill_table = KEYS(kill_keys);

static struct outbox_cfg *read_keys(const struct section *s, const struct plugin *table)
{
    struct outbox_cfg *cfg = options_new(table);
    for (size_t i = 0; diag_memory(s->diag, cfg) && i < s->ini->n_entries; i++) {
        const struct ini_entry *entry = &s->ini->entries[i];
        struct suggest similar = suggest_for(entry->key);
        if (section_option(s, entry, table, cfg))
            continue;
        options_suggest(table, &similar);
        section_unknown_key(s, entry, &similar);
    }
    return cfg;
}

static void keep(const struct section *s, const struct outbox_cfg *cfg, const char *name, char **to)
{
    struct outbox_str text = options_text(cfg, name);
    if (text.p)
        diag_memory(s->diag, (*to = strdup(text.p)));
}

static void read_conform(struct setup *setup, const struct section *s)
{
    struct outbox_cfg *cfg = read_keys(s, &conform_table);
    if (!cfg)
        return;
    if (!options_int(cfg, "scratch"))
        diag_error(s->diag, s->ini->line,
                   "[conform] lacks `scratch = yes`: the tests write to what the plugin's section "
                   "points to, and empty it; say that this may be done");
    keep(s, cfg, "verify", &setup->verify);
    keep(s, cfg, "sql", &setup->sql);
    setup->soak_ms = options_int(cfg, "soak");
    setup->back_ms = options_int(cfg, "comes_back");
    options_free(cfg);
}

static void read_kill(struct setup *setup, const struct section *s)
{
    struct outbox_cfg *cfg = read_keys(s, &kill_table);
    if (!cfg)
        return;
    keep(s, cfg, "stop", &setup->stop);
    keep(s, cfg, "start", &setup->start);
    if (!setup->stop != !setup->start)
        diag_error(s->diag, s->ini->line, "[kill] lacks `%s`: it has both commands, or neither",
                   setup->stop ? "start" : "stop");
    options_free(cfg);
}

/* ---- the plugin's section ---- */

static bool is_named(const struct ini_section *ini, const char *kind, const char **ret_name)
{
    size_t n = strlen(kind);
    *ret_name = ini->name + n + 1;
    return strncmp(ini->name, kind, n) == 0 && ini->name[n] == ' ';
}

/* What [store], [publisher NAME] and [route NAME] are called in messages. */
static const char *const forms[] = {"", "[store]", "[publisher NAME]", "[route NAME]"};

/* Is it a section of the plugin's kind, which names the plugin or none? */
static bool is_its_section(const struct setup *setup, struct section *s)
{
    const struct ini_entry *entry = section_find(s, "plugin");
    bool is = setup->kind == OUTBOX_KIND_STORE       ? strcmp(s->ini->name, "store") == 0
              : setup->kind == OUTBOX_KIND_PUBLISHER ? is_named(s->ini, "publisher", &s->name)
                                                     : is_named(s->ini, "route", &s->name);
    if (!is || !entry)
        return is && (setup->kind != OUTBOX_KIND_RULE || !section_find(s, "publisher"));
    char *name = section_text(s, entry);
    is = name && strcmp(name, setup->name) == 0;
    free(name);
    return is;
}

/* As if it named the plugin. */
static bool name_plugin(const struct setup *setup, struct ini_section *ini)
{
    for (size_t i = 0; i < ini->n_entries; i++)
        if (strcmp(ini->entries[i].key, "plugin") == 0)
            return true;
    struct ini_entry *entry = array_add(&ini->entries, &ini->n_entries, sizeof *entry);
    if (!entry)
        return false;
    *entry = (struct ini_entry){strdup("plugin"), strdup(setup->name), ini->line};
    return entry->key && entry->value;
}

static void read_its_section(struct setup *setup, const struct section *s)
{
    struct config *config = setup->config;
    if (setup->kind == OUTBOX_KIND_STORE) {
        plugin_section_store(s);
        setup->plugin = config->store_plugin;
        setup->options = config->store_options;
    } else if (setup->kind == OUTBOX_KIND_PUBLISHER) {
        plugin_section_publisher(s);
        const struct publisher_config *p = config->n_publishers ? &config->publishers[0] : NULL;
        setup->plugin = p ? p->plugin : NULL;
        setup->options = p ? p->options : NULL;
        setup->publish_ms = p ? (uint32_t)p->delivery.batch_timeout_ms : 0;
    } else {
        route_section_route(s);
        const struct route *route = config->routes.n_routes ? &config->routes.routes[0] : NULL;
        setup->plugin = route ? route->rule : NULL;
        setup->options = route ? route->rule_cfg : NULL;
    }
}

/* ---- the file ---- */

static struct section section_at(struct ini *ini, size_t i, mode_t mode, struct setup *setup,
                                 struct diagnostics *diag)
{
    return (struct section){&ini->sections[i], NULL, mode, setup->config, diag};
}

/* Those of outboxd, which an author may have in the same file. */
static bool is_outboxds(const char *name)
{
    static const char *const kinds[] = {"store", "publisher", "route", "router",
                                        "relay", "log",       "http"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t n = strlen(kinds[i]);
        if (strncmp(name, kinds[i], n) == 0 && (name[n] == '\0' || name[n] == ' '))
            return true;
    }
    return false;
}

static void read_ours(struct setup *setup, struct ini *ini, mode_t mode, struct diagnostics *diag)
{
    bool seen = false;
    for (size_t i = 0; i < ini->n_sections; i++) {
        struct section s = section_at(ini, i, mode, setup, diag);
        if (strcmp(s.ini->name, "conform") == 0) {
            seen = true;
            read_conform(setup, &s);
        } else if (strcmp(s.ini->name, "kill") == 0) {
            read_kill(setup, &s);
        } else if (!is_outboxds(s.ini->name) && !s.ini->unreadable) {
            struct suggest similar = suggest_for(s.ini->name);
            suggest_try(&similar, "conform");
            suggest_try(&similar, "kill");
            diag_error(diag, s.ini->line, "unknown section [%.80s]%s", s.ini->name,
                       suggest_hint(&similar));
        }
    }
    if (!seen)
        diag_error(diag, 1,
                   "there is no [conform] section; with `scratch = yes` it says that tests "
                   "may write to, and empty, what the plugin's section points to");
}

static void read_plugin(struct setup *setup, struct ini *ini, mode_t mode, struct diagnostics *diag,
                        bool load)
{
    struct section found = {NULL, NULL, mode, setup->config, diag};
    for (size_t i = 0; i < ini->n_sections; i++) {
        struct section s = section_at(ini, i, mode, setup, diag);
        const char *name;
        if (load && strcmp(s.ini->name, "relay") == 0)
            section_relay(&s);
        if (!found.ini && is_its_section(setup, &s))
            found = s;
        else if (setup->kind == OUTBOX_KIND_RULE && is_named(s.ini, "publisher", &name))
            diag_memory(diag, config_add_publisher(setup->config, name));
    }
    if (!found.ini) {
        diag_error(diag, 1, "there is no %s section for %s-%s; it has the plugin's options",
                   forms[setup->kind], descriptor_kind_prefix(setup->kind), setup->name);
        return;
    }
    diag_memory(diag, (setup->section = strdup(found.ini->name)));
    if (load && diag_memory(diag, name_plugin(setup, (struct ini_section *)(uintptr_t)found.ini)))
        read_its_section(setup, &found);
}

static void read_all(struct setup *setup, struct file *file, bool load, struct diagnostics *diag)
{
    struct ini *ini = NULL;
    if (file->others_write)
        diag_error(diag, 0,
                   "can be written by others (mode %04o), who could name programs to run; "
                   "take that away (chmod go-w)",
                   (unsigned)file->mode);
    if (!diag_memory(diag, ini_read(file->text, file->n, diag, &ini) == 0))
        return;
    read_ours(setup, ini, file->mode, diag);
    read_plugin(setup, ini, file->mode, diag, load);
    ini_free(ini);
}

int setup_read(struct setup *setup, const char *file, bool load, diag_report_fn report, void *ctx)
{
    struct outbox_err err = {.size = sizeof err};
    struct diagnostics diag = {0};
    struct file text = {0};
    setup->config = config_new(file);
    diag_memory(&diag, setup->config && (setup->config->plugins = plugin_set_new(setup->dir)));
    int r = diag.no_memory ? OUTBOX_E_RETRY : file_read(file, FILE_MAX, &text, &err);
    if (r == OUTBOX_E_NOTSUP)
        diag_error(&diag, 0, "%s; write it, or name another one with -c", err.text);
    else if (diag_check(&diag, 0, NULL, r, &err))
        read_all(setup, &text, load, &diag);
    r = diag_result(&diag);
    diag_report(&diag, file, report, ctx);
    diag_clear(&diag);
    file_forget(&text);
    return r;
}
