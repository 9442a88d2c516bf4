/* SPDX-License-Identifier: Apache-2.0 */
/* route_section.c - [route NAME] and [router]. */
#include "base/array.h"
#include "config/load.h"
#include "plugin/trusted_path.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The keys of a route besides those of its rule plugin. */
static const char *const route_keys[] = {"topic", "key", "header", "to", "publisher", "plugin"};

static bool is_route_key(const char *key)
{
    for (size_t i = 0; i < sizeof route_keys / sizeof route_keys[0]; i++)
        if (strcmp(key, route_keys[i]) == 0)
            return true;
    return strncmp(key, "header.", 7) == 0 || strncmp(key, "to.", 3) == 0;
}

/* A configured publisher's index, or ROUTE_NONE after a complaint. */
static size_t find_publisher(struct loader *l, int line, const char *name)
{
    struct suggest nearest = suggest_for(name);
    struct suggest_hint hint;
    for (size_t i = 0; i < l->config->n_publishers; i++) {
        if (strcmp(l->config->publishers[i].name, name) == 0)
            return i;
        suggest_try(&nearest, l->config->publishers[i].name);
    }
    diag_error(l, line, "there is no [publisher %.80s]%s", name, suggest_hint(&nearest, &hint));
    return ROUTE_NONE;
}

/* The names of an entry; false after a complaint. */
static bool read_names(struct loader *l, const struct ini_entry *entry, struct value_items *ret)
{
    struct outbox_err err = {.size = sizeof err};
    char *text = value_unquote(entry->value);
    int r = text ? value_list(text, ret, &err) : OUTBOX_E_RETRY;
    free(text);
    if (r < 0)
        diag_error_from(l, entry->line, entry->key, r, &err);
    else if (r == 0 && ret->n == 0)
        diag_error(l, entry->line, "%s names no publisher", entry->key);
    return r == 0 && ret->n > 0;
}

/* The one publisher that an entry names. */
static size_t one_publisher(struct loader *l, const struct ini_entry *entry)
{
    struct value_items names = {NULL, 0};
    size_t publisher = ROUTE_NONE;
    if (!read_names(l, entry, &names))
        return ROUTE_NONE;
    for (size_t i = 0; i < names.n; i++)
        publisher = find_publisher(l, entry->line, names.items[i]);
    if (names.n > 1)
        diag_error(l, entry->line, "%s: several publishers for one message are not supported yet",
                   entry->key);
    value_items_free(&names);
    return publisher;
}

static void add_match(struct loader *l, struct route *route, enum route_subject subject,
                      const char *header, const struct ini_entry *entry)
{
    struct route_match *grown = array_grow(route->matches, route->n_matches, sizeof *grown);
    char *pattern = entry_text(l, entry);
    char *name = header ? strdup(header) : NULL;
    if (grown)
        route->matches = grown;
    l->no_memory |= !grown || (header && !name);
    if (!grown || !pattern || (header && !name)) {
        free(pattern);
        free(name);
        return;
    }
    if (!*pattern && subject == ROUTE_TOPIC)
        diag_error(l, entry->line, "%s: the pattern is empty and would match nothing of use",
                   entry->key);
    grown[route->n_matches++] = (struct route_match){subject, name, pattern};
}

static void add_target(struct loader *l, struct route *route, const char *value, size_t publisher)
{
    struct route_target *grown = array_grow(route->targets, route->n_targets, sizeof *grown);
    char *copy = strdup(value);
    if (grown)
        route->targets = grown;
    if (!grown || !copy) {
        free(copy);
        l->no_memory = true;
        return;
    }
    struct route_target *target = &grown[route->n_targets++];
    target->value = copy;
    target->publisher = publisher;
}

/* `to.VALUE` are keys, so only names in `to` can be there twice. */
static void check_mapped_once(struct loader *l, const struct ini_section *section,
                              const struct ini_entry *to, const struct value_items *names,
                              size_t index)
{
    const char *name = names->items[index];
    for (size_t i = 0; i < section->n_entries; i++) {
        const struct ini_entry *entry = &section->entries[i];
        if (strncmp(entry->key, "to.", 3) == 0 && strcmp(entry->key + 3, name) == 0)
            diag_error(l, to->line, "the header's value `%.80s` is mapped twice, also on line %d",
                       name, entry->line);
    }
    for (size_t i = 0; i < index; i++)
        if (strcmp(names->items[i], name) == 0) {
            diag_error(l, to->line, "the header's value `%.80s` is mapped twice", name);
            break;
        }
}

static void add_own_names(struct loader *l, struct route *route, const struct ini_section *section,
                          const struct ini_entry *entry)
{
    struct value_items names = {NULL, 0};
    if (!read_names(l, entry, &names))
        return;
    for (size_t i = 0; i < names.n; i++) {
        check_mapped_once(l, section, entry, &names, i);
        add_target(l, route, names.items[i], find_publisher(l, entry->line, names.items[i]));
    }
    value_items_free(&names);
}

static void load_entry(struct loader *l, struct route *route, const struct ini_section *section,
                       const struct ini_entry *entry, bool has_rule)
{
    const char *key = entry->key;
    struct suggest nearest = suggest_for(key);
    struct suggest_hint hint;
    if (strcmp(key, "topic") == 0)
        add_match(l, route, ROUTE_TOPIC, NULL, entry);
    else if (strcmp(key, "key") == 0)
        add_match(l, route, ROUTE_KEY, NULL, entry);
    else if (strncmp(key, "header.", 7) == 0 && key[7])
        add_match(l, route, ROUTE_HEADER, key + 7, entry);
    else if (strcmp(key, "header") == 0)
        route->header = entry_text(l, entry);
    else if (strcmp(key, "to") == 0)
        add_own_names(l, route, section, entry);
    else if (strncmp(key, "to.", 3) == 0 && key[3])
        add_target(l, route, key + 3, one_publisher(l, entry));
    else if (strcmp(key, "publisher") == 0)
        route->publisher = one_publisher(l, entry);
    else if (!has_rule || is_route_key(key)) { /* the rule's own are checked with its options */
        if (strcmp(key, "plugin") == 0)
            return;
        for (size_t i = 0; i < sizeof route_keys / sizeof route_keys[0]; i++)
            suggest_try(&nearest, route_keys[i]);
        diag_error(l, entry->line, "unknown key `%.80s` in [%s]%s", key, section->name,
                   suggest_hint(&nearest, &hint));
    }
}

/* Exactly one way to name a publisher. */
static void check_ways(struct loader *l, const struct ini_section *section,
                       const struct route *route)
{
    const struct ini_entry *header = entry_find(section, "header");
    int ways = (entry_find(section, "publisher") != NULL) + (header != NULL) +
               (entry_find(section, "plugin") != NULL);
    if (route->n_targets > 0 && !header)
        diag_error(l, section->line, "[%s] has `to`, but no `header` whose value it maps",
                   section->name);
    else if (ways == 0)
        diag_error(l, section->line,
                   "[%s] names no publisher; add `publisher = NAME`, `header = NAME` with `to`, or "
                   "`plugin = RULE`",
                   section->name);
    else if (ways > 1)
        diag_error(
            l, section->line,
            "[%s] names publishers in several ways; keep one of publisher, header and plugin",
            section->name);
    else if (header && route->n_targets == 0)
        diag_error(l, header->line,
                   "[%s] maps no value of its header; add `to.VALUE = NAME` or "
                   "`to = NAME`",
                   section->name);
    if (header && route->header && !*route->header)
        diag_error(l, header->line, "header: the name of a header is wanted");
}

void load_route(struct loader *l, const struct ini_section *section, const char *name)
{
    struct route_table *table = &l->config->routes;
    if (!path_name_is_valid(name)) {
        diag_error(l, section->line,
                   "`%.80s` cannot be a route's name; names match [a-z0-9-]{1,63}", name);
        return;
    }
    struct route *grown = array_grow(table->routes, table->n_routes, sizeof *grown);
    if (!grown) {
        l->no_memory = true;
        return;
    }
    table->routes = grown;
    struct route *route = &grown[table->n_routes++];
    *route = (struct route){.line = section->line, .publisher = ROUTE_NONE};
    route->name = strdup(name);
    l->no_memory |= !route->name;
    bool has_rule = entry_find(section, "plugin") != NULL;
    for (size_t i = 0; i < section->n_entries; i++)
        load_entry(l, route, section, &section->entries[i], has_rule);
    check_ways(l, section, route);
    if (has_rule)
        load_plugin(l, section, OUTBOX_KIND_RULE, is_route_key, NULL, &route->rule,
                    &route->rule_cfg);
}

void load_router(struct loader *l, const struct ini_section *section)
{
    static const char *const unrouted[] = {"hold", "fail", NULL};
    static const struct setting settings[] = {
        {"unrouted", SETTING_CHOICE, offsetof(struct config, unrouted_fail), 0, 0, unrouted, 0},
        {NULL, 0, 0, 0, 0, NULL, 0}};
    for (size_t i = 0; i < section->n_entries; i++) {
        const struct ini_entry *entry = &section->entries[i];
        struct suggest nearest = suggest_for(entry->key);
        struct suggest_hint hint;
        if (strcmp(entry->key, "fallback") == 0) {
            l->config->routes.fallback = one_publisher(l, entry);
        } else if (setting_find(settings, entry->key)) {
            setting_apply(l, settings, entry, l->config);
        } else {
            suggest_try(&nearest, "fallback");
            suggest_try(&nearest, "unrouted");
            diag_error(l, entry->line, "unknown key `%.80s` in [router]%s", entry->key,
                       suggest_hint(&nearest, &hint));
        }
    }
}
