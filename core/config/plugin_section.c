/* SPDX-License-Identifier: Apache-2.0 */
/* plugin_section.c - sections that name a plugin: [store], [publisher NAME], rules in routes. */
#include "base/array.h"
#include "common/utf8.h"
#include "config/load.h"
#include "plugin/secret_file.h"
#include "plugin/trusted_path.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct ini_entry *entry_find(const struct ini_section *section, const char *key)
{
    for (size_t i = 0; i < section->n_entries; i++)
        if (strcmp(section->entries[i].key, key) == 0)
            return &section->entries[i];
    return NULL;
}

static void load_secret_file(struct loader *l, const struct ini_section *section,
                             const struct ini_entry *entry, const struct outbox_option *secret,
                             struct outbox_cfg *options)
{
    const struct ini_entry *direct = entry_find(section, secret->name);
    if (direct) {
        diag_error(l, entry->line, "%s and %s (line %d) are both set; keep one", entry->key,
                   secret->name, direct->line);
        return;
    }
    char *path = entry_text(l, entry);
    if (!path)
        return;
    struct outbox_err err = {.size = sizeof err};
    int r = secret_file_set(options, secret->name, path, &err);
    if (r < 0)
        diag_error_from(l, entry->line, entry->key, r, &err);
    free(path);
}

/* One ${NAME} and nothing else: then the file names a secret, but does not hold it. */
static bool is_variable(const char *text)
{
    const char *end = strchr(text, '}');
    return strncmp(text, "${", 2) == 0 && end && end[1] == '\0';
}

static bool is_empty(const struct outbox_cfg *options, const struct outbox_option *option)
{
    if (option->type == OUTBOX_OPT_TEXT)
        return options_text(options, option->name).n == 0;
    return option->type == OUTBOX_OPT_LIST && options_count(options, option->name) == 0;
}

static void load_option(struct loader *l, const struct ini_entry *entry,
                        const struct outbox_option *option, struct outbox_cfg *options)
{
    struct outbox_err err = {.size = sizeof err};
    char *text = value_unquote(entry->value);
    if (!text) {
        l->no_memory = true;
        return;
    }
    bool secret = options_is_secret(option, text) && !is_variable(text);
    if (secret && *text && (l->mode & 007))
        diag_error(
            l, entry->line,
            "%s %s, but others can read this file (mode %04o); chmod o-rwx it, or set %s_file",
            option->name, option->flags & OUTBOX_OPT_SECRET ? "is a secret" : "holds a password",
            l->mode & 07777, option->name);
    int r = options_set(options, option->name, text, &err);
    if (r < 0 && r != OUTBOX_E_RETRY && secret) /* the text could show a part of it */
        diag_error(l, entry->line, "%s: %s", option->name, OPTIONS_BAD_SECRET);
    else if (r < 0)
        diag_error_from(l, entry->line, option->name, r, &err);
    else if ((option->flags & OUTBOX_OPT_REQUIRED) && is_empty(options, option))
        diag_error(l, entry->line, "%s is empty: %s", option->name, option->help);
    if (secret)
        explicit_bzero(text, strlen(text));
    free(text);
}

static void unknown_option(struct loader *l, const struct ini_section *section,
                           const struct ini_entry *entry, const struct plugin *plugin,
                           const struct setting *core)
{
    struct suggest nearest = suggest_for(entry->key);
    struct suggest_hint hint;
    if (strncmp(entry->key, "relay.", 6) == 0) {
        diag_error(l, entry->line,
                   "keys that begin with `relay.` are reserved, and `%.80s` is not "
                   "known to this version",
                   entry->key);
        return;
    }
    suggest_try(&nearest, "plugin");
    if (core)
        setting_names(core, &nearest);
    for (size_t i = 0; i < plugin->desc.n_options; i++)
        suggest_try(&nearest, plugin_option(plugin, i)->name);
    diag_error(l, entry->line, "unknown key `%.80s` in [%s]; neither outboxd nor %s-%s knows it%s",
               entry->key, section->name, plugin_kind_prefix(plugin->desc.kind), plugin->desc.name,
               suggest_hint(&nearest, &hint));
}

static const struct plugin *named_plugin(struct loader *l, const struct ini_section *section,
                                         uint32_t kind)
{
    const struct plugin *plugin = NULL;
    struct outbox_err err = {.size = sizeof err};
    const struct ini_entry *entry = entry_find(section, "plugin");
    if (!entry) {
        diag_error(l, section->line,
                   "[%s] names no plugin; add `plugin = NAME` (outboxd plugins "
                   "lists them)",
                   section->name);
        return NULL;
    }
    char *name = entry_text(l, entry);
    int r = name ? plugin_get(l->config->plugins, kind, name, &plugin, &err) : OUTBOX_OK;
    if (r < 0)
        diag_error_from(l, entry->line, NULL, r, &err);
    free(name);
    return plugin;
}

void load_plugin(struct loader *l, const struct ini_section *section, uint32_t kind, own_key_fn own,
                 const struct setting *core, const struct plugin **ret,
                 struct outbox_cfg **ret_options)
{
    const struct plugin *plugin = named_plugin(l, section, kind);
    struct outbox_cfg *options = plugin ? options_new(plugin) : NULL;
    if (!options) {
        l->no_memory |= plugin != NULL;
        return;
    }
    *ret = plugin;
    *ret_options = options;
    for (size_t i = 0; i < section->n_entries; i++) {
        const struct ini_entry *entry = &section->entries[i];
        const struct outbox_option *option =
            plugin_find_option(plugin, entry->key, strlen(entry->key));
        const struct outbox_option *secret = secret_file_option(plugin, entry->key);
        if (strcmp(entry->key, "plugin") == 0 || (core && setting_find(core, entry->key)) ||
            (own && own(entry->key)))
            continue;
        if (option)
            load_option(l, entry, option, options);
        else if (secret)
            load_secret_file(l, section, entry, secret, options);
        else
            unknown_option(l, section, entry, plugin, core);
    }
    for (size_t i = 0; i < plugin->desc.n_options; i++) {
        const struct outbox_option *o = plugin_option(plugin, i);
        char file[80];
        snprintf(file, sizeof file, "%s_file", o->name);
        /* One that was set wrongly has been complained about. */
        if ((o->flags & OUTBOX_OPT_REQUIRED) && !o->deflt && !options_given(options, o->name) &&
            !entry_find(section, o->name) && !entry_find(section, file))
            diag_error(l, section->line, "[%s] lacks `%s`: %s", section->name, o->name, o->help);
    }
}

void load_store(struct loader *l, const struct ini_section *section)
{
    load_plugin(l, section, OUTBOX_KIND_STORE, NULL, NULL, &l->config->store_plugin,
                &l->config->store_options);
    l->config->store_line = section->line;
}

/* A publisher's own time-out has to leave a batch the time to be settled. */
static void check_timeouts(struct loader *l, const struct ini_section *section,
                           const struct publisher_config *p)
{
    for (size_t i = 0; p->plugin && i < p->plugin->desc.n_options; i++) {
        const struct outbox_option *o = plugin_option(p->plugin, i);
        struct value_text own, batch;
        if (!options_too_long(p->options, o, p->delivery.batch_timeout_ms))
            continue;
        const struct ini_entry *entry = entry_find(section, o->name);
        if (entry && !options_given(p->options, o->name))
            continue; /* it has been complained about */
        if (!entry)
            entry = entry_find(section, "batch_timeout");
        diag_error(
            l, entry ? entry->line : section->line,
            "%s (%s) must be shorter than batch_timeout (%s), or no batch could be settled in "
            "time",
            o->name, value_show_duration(options_int(p->options, o->name), &own),
            value_show_duration(p->delivery.batch_timeout_ms, &batch));
    }
}

void load_publisher(struct loader *l, const struct ini_section *section, const char *name)
{
    struct config *config = l->config;
    if (!path_name_is_valid(name)) {
        diag_error(l, section->line,
                   "`%.80s` cannot be a publisher's name; names match "
                   "[a-z0-9-]{1,63}",
                   name);
        return;
    }
    struct publisher_config *grown =
        array_grow(config->publishers, config->n_publishers, sizeof *grown);
    char *copy = strdup(name);
    if (grown)
        config->publishers = grown;
    if (!grown || !copy) {
        free(copy);
        l->no_memory = true;
        return;
    }
    struct publisher_config *p = &grown[config->n_publishers++];
    *p = (struct publisher_config){
        .name = copy, .line = section->line, .delivery = config->delivery};
    for (size_t i = 0; i < section->n_entries; i++) {
        const struct setting *s = setting_find(publisher_settings, section->entries[i].key);
        if (s)
            setting_apply(l, s, &section->entries[i], &p->delivery);
    }
    check_delivery(l, section, &p->delivery);
    load_plugin(l, section, OUTBOX_KIND_PUBLISHER, NULL, publisher_settings, &p->plugin,
                &p->options);
    check_timeouts(l, section, p);
}
