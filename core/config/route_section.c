/* SPDX-License-Identifier: Apache-2.0 */
#include "base/value.h"
#include "config/section.h"

#include <stdlib.h>
#include <string.h>

/* The keys of a route besides its subjects (route.h) and those of its rule plugin. */
static const struct outbox_option route_keys[] = {
    {"publisher", NULL, "The publisher of the messages that match.", NULL, 0, 0,
     OUTBOX_OPT_PUBLISHER, 0},
    {"header", NULL, "The name of a header whose value selects the publisher.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"to", NULL, "With `header`: publishers whose names may be its value.", NULL, 0, 0,
     OUTBOX_OPT_LIST, 0},
    {"to", NULL, "With `header`: the publisher for this value of it, as `to.VALUE = NAME`.", NULL,
     0, 0, OUTBOX_OPT_PREFIX, 0},
    {"plugin", NULL, "A rule plugin, which decides; it has the other keys.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
};
#define N_ROUTE_KEYS (sizeof route_keys / sizeof route_keys[0])
const struct plugin route_section_keys = {.desc = {.options = route_keys,
                                                   .n_options = N_ROUTE_KEYS,
                                                   .option_stride = sizeof route_keys[0]}};

/* Also an unfinished one, `to.` and `header.`: it cannot be the rule's. */
static bool is_route_key(const char *key)
{
    const char *name;
    for (size_t i = 0; i < N_ROUTE_KEYS; i++)
        if (strcmp(key, route_keys[i].name) == 0)
            return true;
    for (size_t i = 0; i < N_SUBJECTS; i++)
        if (strcmp(key, route_subjects[i].key) == 0)
            return true;
    return strncmp(key, "to.", 3) == 0 || route_subject_find(key, &name) != N_SUBJECTS;
}

#define OWN_ROUTE "is routed by a [route] of its own: `header.NAME = VALUE` and `publisher = NAME`"

/* Is there a publisher of that name? */
static void check_publisher(const struct section *s, int line, const char *name)
{
    struct suggest similar = suggest_for(name);
    if (config_find_publisher(s->config, name, &similar) == ROUTE_NONE)
        diag_error(s->diag, line, "there is no [publisher %.80s]%s%s", name, suggest_hint(&similar),
                   strchr(name, '=') ? "; a header's value that contains `=` " OWN_ROUTE : "");
}

/* The names of publishers in an entry; none after a mistake. */
static struct value_items read_names(const struct section *s, const struct ini_entry *entry)
{
    struct outbox_err err = {.size = sizeof err};
    struct value_items names = {NULL, 0};
    char *text = section_raw(s, entry);
    int r = text ? value_list(text, &names, &err) : OUTBOX_E_RETRY;
    if (diag_check(s->diag, entry->line, entry->key, r, &err) && names.n == 0)
        diag_error(s->diag, entry->line, "%s names no publisher", entry->key);
    for (size_t i = 0; i < names.n; i++)
        check_publisher(s, entry->line, names.items[i]);
    free(text);
    return names;
}

/* The one publisher that an entry names, for free(); NULL after a mistake. */
static char *read_publisher(const struct section *s, const struct ini_entry *entry)
{
    struct value_items names = read_names(s, entry);
    char *publisher = NULL;
    if (names.n > 1)
        diag_error(s->diag, entry->line,
                   "%s: several publishers for one message are not supported yet", entry->key);
    else if (names.n == 1)
        diag_memory(s->diag, (publisher = strdup(names.items[0])));
    value_items_free(&names);
    return publisher;
}

static void add_match(const struct section *s, struct route *route, enum subject subject,
                      const char *name, const struct ini_entry *entry)
{
    char *pattern = section_text(s, entry);
    if (pattern)
        diag_memory(s->diag, route_add_match(route, subject, name, pattern) == 0);
    free(pattern);
}

/* `to.VALUE` are keys, so only names in `to` can be there twice. */
static void check_mapped_once(const struct section *s, const struct ini_entry *to,
                              const struct value_items *names, size_t index)
{
    const char *name = names->items[index];
    for (size_t i = 0; i < s->ini->n_entries; i++) {
        const struct ini_entry *entry = &s->ini->entries[i];
        if (strncmp(entry->key, "to.", 3) == 0 && strcmp(entry->key + 3, name) == 0)
            diag_error(s->diag, to->line,
                       "the header's value `%.80s` is mapped twice, also on line %d", name,
                       entry->line);
    }
    for (size_t i = 0; i < index; i++)
        if (strcmp(names->items[i], name) == 0) {
            diag_error(s->diag, to->line, "the header's value `%.80s` is mapped twice", name);
            break;
        }
}

static void add_own_names(const struct section *s, struct route *route,
                          const struct ini_entry *entry)
{
    struct value_items names = read_names(s, entry);
    for (size_t i = 0; i < names.n; i++) {
        check_mapped_once(s, entry, &names, i);
        diag_memory(s->diag, route_add_target(route, names.items[i], names.items[i]) == 0);
    }
    value_items_free(&names);
}

static void add_target(const struct section *s, struct route *route, const char *value,
                       const struct ini_entry *entry)
{
    char *publisher = read_publisher(s, entry);
    /* also after a mistake, so that the header has a map */
    diag_memory(s->diag, route_add_target(route, value, publisher ? publisher : "") == 0);
    free(publisher);
}

static void unknown_key(const struct section *s, const struct ini_entry *entry)
{
    struct suggest similar = suggest_for(entry->key);
    for (size_t i = 0; i < N_SUBJECTS; i++)
        if (!route_subjects[i].named)
            suggest_try(&similar, route_subjects[i].key);
    for (size_t i = 0; i < N_ROUTE_KEYS; i++)
        suggest_try(&similar, route_keys[i].name);
    section_unknown_key(s, entry, &similar);
}

static void read_entry(const struct section *s, struct route *route, const struct ini_entry *entry)
{
    const char *key = entry->key, *name;
    enum subject subject = route_subject_find(key, &name);
    if (subject != N_SUBJECTS)
        add_match(s, route, subject, name, entry);
    else if (strcmp(key, "header") == 0)
        route->header = section_text(s, entry);
    else if (strcmp(key, "to") == 0)
        add_own_names(s, route, entry);
    else if (strncmp(key, "to.", 3) == 0 && key[3])
        add_target(s, route, key + 3, entry);
    else if (strcmp(key, "to.") == 0)
        diag_error(s->diag, entry->line,
                   "no value of a header follows `to.`; an empty one " OWN_ROUTE);
    else if (strcmp(key, "publisher") == 0)
        route->publisher = read_publisher(s, entry);
    else if (strcmp(key, "plugin") != 0 && (!section_find(s, "plugin") || is_route_key(key)))
        unknown_key(s, entry); /* what remains is checked with the rule's options */
}

/* Exactly one way to name a publisher. */
static void check_ways(const struct section *s, const struct route *route)
{
    const struct ini_entry *header = section_find(s, "header");
    const char *mistake = NULL;
    int ways = (section_find(s, "publisher") != NULL) + (header != NULL) +
               (section_find(s, "plugin") != NULL);
    if (route->n_targets > 0 && !header)
        mistake = "has `to`, but no `header` whose value it maps";
    else if (ways == 0)
        mistake = "names no publisher; add `publisher = NAME`, `header = NAME` with `to`, or "
                  "`plugin = RULE`";
    else if (ways > 1)
        mistake = "names publishers in several ways; keep one of publisher, header and plugin";
    else if (header && route->n_targets == 0)
        mistake = "maps no value of its header; add `to.VALUE = NAME` or `to = NAME`";
    if (mistake)
        diag_error(s->diag, ways == 1 && header ? header->line : s->ini->line, "[%s] %s",
                   s->ini->name, mistake);
    if (header && route->header && !*route->header)
        diag_error(s->diag, header->line, "header: the name of a header is wanted");
}

void route_section_route(const struct section *s)
{
    if (!section_check_name(s, "a route"))
        return;
    struct route *route = route_add(&s->config->routes, s->name);
    if (!diag_memory(s->diag, route))
        return;
    route->line = s->ini->line;
    for (size_t i = 0; i < s->ini->n_entries; i++)
        read_entry(s, route, &s->ini->entries[i]);
    check_ways(s, route);
    if (!section_find(s, "plugin"))
        return;
    plugin_section_read(s, OUTBOX_KIND_RULE, is_route_key, &route->rule, &route->rule_cfg);
    diag_memory(s->diag, (route->rule_shared = shared_state_new()));
}

void route_section_router(const struct section *s)
{
    const struct ini_entry *fallback = section_find(s, "fallback");
    section_settings(s, &settings_router);
    if (fallback)
        s->config->routes.fallback = read_publisher(s, fallback);
}
