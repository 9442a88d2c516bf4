/* SPDX-License-Identifier: Apache-2.0 */
#include "config/section.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct outbox_option plugin_keys[] = {
    {"plugin", NULL, "The name of the plugin, which has the other keys of the section.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, OUTBOX_OPT_REQUIRED},
};
const struct plugin plugin_section_keys = {
    .desc = {.options = plugin_keys, .n_options = 1, .option_stride = sizeof plugin_keys[0]}};

static void read_secret_file(const struct section *s, const struct ini_entry *entry,
                             const struct outbox_option *secret, struct outbox_cfg *options)
{
    struct outbox_err err = {.size = sizeof err};
    const struct ini_entry *direct = section_find(s, secret->name);
    if (direct) {
        diag_error(s->diag, entry->line, "%s and %s (line %d) are both set; keep one", entry->key,
                   secret->name, direct->line);
        return;
    }
    char *path = section_text(s, entry);
    if (path && diag_check(s->diag, entry->line, entry->key,
                           options_set_from_file(options, secret->name, path, &err), &err))
        options_set_line(options, secret->name, entry->line);
    free(path);
}

static void unknown_option(const struct section *s, const struct ini_entry *entry,
                           const struct plugin *plugin)
{
    struct suggest similar = suggest_for(entry->key);
    if (strncmp(entry->key, "relay.", 6) == 0) {
        diag_error(s->diag, entry->line,
                   "keys that begin with `relay.` are reserved, and `%.80s` is not known to this "
                   "version",
                   entry->key);
        return;
    }
    suggest_try(&similar, "plugin");
    if (plugin->desc.kind == OUTBOX_KIND_PUBLISHER)
        options_suggest(&delivery_publisher, &similar);
    options_suggest(plugin, &similar);
    diag_error(s->diag, entry->line,
               "unknown key `%.80s` in [%s]; neither outboxd nor %s-%s knows it%s", entry->key,
               s->ini->name, descriptor_kind_prefix(plugin->desc.kind), plugin->desc.name,
               suggest_hint(&similar));
}

static const struct plugin *named_plugin(const struct section *s, uint32_t kind)
{
    const struct plugin *plugin = NULL;
    struct outbox_err err = {.size = sizeof err};
    const struct ini_entry *entry = section_find(s, "plugin");
    if (!entry) {
        diag_error(s->diag, s->ini->line,
                   "[%s] names no plugin; add `plugin = NAME` (outboxd plugins lists them)",
                   s->ini->name);
        return NULL;
    }
    char *name = section_text(s, entry);
    if (name)
        diag_check(s->diag, entry->line, NULL,
                   plugin_get(s->config->plugins, kind, name, &plugin, &err), &err);
    free(name);
    return plugin;
}

/* Whatever is required and not set; a key that was set wrongly has its own mistake. */
static void check_required(const struct section *s, const struct plugin *plugin,
                           const struct outbox_cfg *options)
{
    for (size_t i = 0; i < plugin->desc.n_options; i++) {
        const struct outbox_option *o = descriptor_option(plugin, i);
        char file[80];
        snprintf(file, sizeof file, "%s_file", o->name);
        if ((o->flags & OUTBOX_OPT_REQUIRED) && !o->deflt && !options_given(options, o->name) &&
            !section_find(s, o->name) && !section_find(s, file))
            diag_error(s->diag, s->ini->line, "[%s] lacks `%s`: %s", s->ini->name, o->name,
                       o->help);
    }
}

void plugin_section_read(const struct section *s, uint32_t kind, bool (*owns)(const char *key),
                         const struct plugin **ret, struct outbox_cfg **ret_options)
{
    const struct plugin *plugin = named_plugin(s, kind);
    struct outbox_cfg *options = plugin ? options_new(plugin) : NULL;
    if (!options) {
        diag_memory(s->diag, !plugin);
        return;
    }
    *ret = plugin;
    *ret_options = options;
    options_read_from(options, s->config->file, s->ini->line);
    for (size_t i = 0; i < s->ini->n_entries; i++) {
        const struct ini_entry *entry = &s->ini->entries[i];
        const struct outbox_option *secret = options_of_file(plugin, entry->key);
        if (owns(entry->key) || section_option(s, entry, plugin, options))
            continue;
        if (secret)
            read_secret_file(s, entry, secret, options);
        else
            unknown_option(s, entry, plugin);
    }
    check_required(s, plugin, options);
}

static void check_publishers(const struct config *config, const struct plugin *plugin,
                             const struct outbox_cfg *options, struct diagnostics *diag)
{
    for (size_t i = 0; options && i < plugin->desc.n_options; i++) {
        const struct outbox_option *o = descriptor_option(plugin, i);
        struct outbox_err err = {.size = sizeof err};
        diag_check(diag, options_line(options, o->name), NULL,
                   config_check_publisher(config, options, o, &err), &err);
    }
}

void plugin_section_check_publishers(const struct config *config, struct diagnostics *diag)
{
    check_publishers(config, config->store_plugin, config->store_options, diag);
    for (size_t i = 0; i < config->n_publishers; i++)
        check_publishers(config, config->publishers[i].plugin, config->publishers[i].options, diag);
    for (size_t i = 0; i < config->routes.n_routes; i++)
        check_publishers(config, config->routes.routes[i].rule, config->routes.routes[i].rule_cfg,
                         diag);
}

static bool is_plugin_key(const char *key)
{
    return strcmp(key, "plugin") == 0;
}

void plugin_section_store(const struct section *s)
{
    if (s->config->store_line) /* a second [store] is a mistake already */
        return;
    s->config->store_line = s->ini->line;
    plugin_section_read(s, OUTBOX_KIND_STORE, is_plugin_key, &s->config->store_plugin,
                        &s->config->store_options);
}

/* On the line of the time-out or, where it is a default, of batch_timeout. */
static void check_timeouts(const struct section *s, const struct publisher_config *p)
{
    for (size_t i = 0; p->plugin && i < p->plugin->desc.n_options; i++) {
        const struct outbox_option *o = descriptor_option(p->plugin, i);
        struct outbox_err err = {.size = sizeof err};
        int r = options_check_timeout(p->options, o, p->delivery.batch_timeout_ms, &err);
        const struct ini_entry *entry = section_find(s, o->name);
        if (r == 0 || (entry && !options_given(p->options, o->name)))
            continue; /* one that was set wrongly has its own mistake */
        if (!entry)
            entry = section_find(s, "batch_timeout");
        diag_check(s->diag, entry ? entry->line : s->ini->line, NULL, r, &err);
    }
}

/* The keys that the core has in every publisher's section; the defaults are those of [relay]. */
static void read_delivery(const struct section *s, struct delivery *delivery)
{
    struct outbox_cfg *cfg = options_new(&delivery_publisher);
    if (!diag_memory(s->diag, cfg))
        return;
    for (size_t i = 0; i < s->ini->n_entries; i++)
        section_option(s, &s->ini->entries[i], &delivery_publisher, cfg);
    section_not_supported(s, "workers", "workers");
    section_not_supported(s, "rate_limit", "rate_limit");
    delivery_apply(cfg, false, delivery);
    options_free(cfg);
    section_check_delivery(s, delivery);
}

void plugin_section_publisher(const struct section *s)
{
    if (!section_check_name(s, "a publisher"))
        return;
    struct publisher_config *p = config_add_publisher(s->config, s->name);
    if (!diag_memory(s->diag, p))
        return;
    p->line = s->ini->line;
    read_delivery(s, &p->delivery);
    plugin_section_read(s, OUTBOX_KIND_PUBLISHER, delivery_owns_key, &p->plugin, &p->options);
    check_timeouts(s, p);
}
