/* SPDX-License-Identifier: Apache-2.0 */
#include "config_load.h"

#include <outbox/helpers.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (1 << 20)

/* ---- mistakes ---- */

void complain(struct loader *l, int line, const char *fmt, ...)
{
    va_list ap;
    char *text = NULL;
    struct mistake *grown = reallocarray(l->mistakes, l->n_mistakes + 1, sizeof *grown);
    if (grown)
        l->mistakes = grown;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    if (!grown || !text) {
        l->no_memory = true;
        free(text);
        return;
    }
    grown[l->n_mistakes++] = (struct mistake){line, text};
}

static void take_ini_mistake(void *ctx, int line, const char *text)
{
    complain(ctx, line, "%s", text);
}

/* Stable: two mistakes of a line stay as they were found. */
static void sort_mistakes(struct loader *l)
{
    for (size_t i = 1; i < l->n_mistakes; i++) {
        struct mistake m = l->mistakes[i];
        size_t j = i;
        for (; j > 0 && l->mistakes[j - 1].line > m.line; j--)
            l->mistakes[j] = l->mistakes[j - 1];
        l->mistakes[j] = m;
    }
}

/* ---- the file ---- */

char *entry_text(struct loader *l, const struct ini_entry *entry)
{
    struct outbox_err err = {.size = sizeof err};
    char *expanded = NULL;
    char *text = value_unquote(entry->value);
    if (!text) {
        l->no_memory = true;
        return NULL;
    }
    if (value_expand(text, &expanded, &err) < 0)
        complain(l, entry->line, "%s: %s", entry->key, err.text);
    free(text);
    return expanded;
}

/* Its text for free(), or NULL after a complaint. */
static char *read_file(struct loader *l, const char *file, size_t *ret_n)
{
    struct stat st;
    char *text = NULL;
    size_t n = 0;
    ssize_t got = 1;
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0) {
        complain(l, 0, "cannot be read: %s; write it, or name another one with -c",
                 strerror(errno));
        goto out;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
        complain(l, 0, "is not a regular file of at most 1M");
        goto out;
    }
    l->mode = st.st_mode;
    text = malloc(FILE_MAX + 1);
    l->no_memory |= !text;
    while (text && got > 0 && n <= FILE_MAX) {
        got = read(fd, text + n, FILE_MAX + 1 - n);
        n += got > 0 ? (size_t)got : 0;
    }
    if (got < 0 || n > FILE_MAX) {
        complain(l, 0, got < 0 ? "cannot be read to its end" : "is longer than 1M");
        free(text);
        text = NULL;
    }
    *ret_n = n;
out:
    if (fd >= 0)
        close(fd);
    return text;
}

/* ---- sections ---- */

static const char *after(const char *name, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(name, prefix, n) == 0 ? name + n : NULL;
}

static void unknown_section(struct loader *l, const struct ini_section *section)
{
    static const char *const names[] = {"relay",      "store",  "publisher NAME",
                                        "route NAME", "router", "publisher",
                                        "http",       "log",    "route"};
    char first[64];
    snprintf(first, sizeof first, "%.*s", (int)strcspn(section->name, " "), section->name);
    struct nearest nearest = nearest_to(first);
    struct nearest_hint hint;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        nearest_try(&nearest, names[i]);
    if (strcmp(section->name, "publisher") == 0 || strcmp(section->name, "route") == 0)
        complain(l, section->line, "[%s] needs a name: [%s NAME]", section->name, section->name);
    else
        complain(l, section->line, "unknown section [%.80s]%s", section->name,
                 nearest_hint(&nearest, &hint));
}

/* What others build on comes first, wherever it stands. */
enum pass { PASS_RELAY, PASS_PUBLISHERS, PASS_ROUTES, N_PASSES };

static void load_section(struct loader *l, const struct ini_section *section, enum pass pass)
{
    const char *name;
    if (section->unreadable)
        return;
    if (strcmp(section->name, "relay") == 0) {
        if (pass == PASS_RELAY)
            load_relay(l, section);
    } else if (strcmp(section->name, "log") == 0) {
        if (pass == PASS_RELAY)
            load_log(l, section);
    } else if (strcmp(section->name, "http") == 0) {
        if (pass == PASS_RELAY)
            complain(l, section->line, "[http] is not supported yet");
    } else if (strcmp(section->name, "store") == 0) {
        if (pass == PASS_PUBLISHERS && !l->config->store_line)
            load_store(l, section);
    } else if ((name = after(section->name, "publisher "))) {
        if (pass == PASS_PUBLISHERS)
            load_publisher(l, section, name);
    } else if ((name = after(section->name, "route "))) {
        if (pass == PASS_ROUTES)
            load_route(l, section, name);
    } else if (strcmp(section->name, "router") == 0) {
        if (pass == PASS_ROUTES)
            load_router(l, section);
    } else if (pass == PASS_RELAY) {
        unknown_section(l, section);
    }
}

static void load_sections(struct loader *l)
{
    struct config *config = l->config;
    for (enum pass pass = PASS_RELAY; pass < N_PASSES; pass++) {
        if (pass == PASS_PUBLISHERS) {
            config->plugins = plugin_set_new(config->plugin_dir);
            l->no_memory |= !config->plugins;
        }
        for (size_t i = 0; !l->no_memory && i < l->ini->n_sections; i++)
            load_section(l, &l->ini->sections[i], pass);
    }
    if (!config->store_line)
        complain(l, 0, "there is no [store] section; it says where the messages are");
    if (config->n_publishers == 0)
        complain(l, 0, "there is no [publisher NAME] section; it says where the messages go");
}

/* ---- the whole ---- */

static void set_defaults(struct loader *l)
{
    struct config *config = l->config;
    char name[256] = "";
    if (gethostname(name, sizeof name - 1) < 0 || !name[0])
        snprintf(name, sizeof name, "outboxd");
    config->name = strdup(name);
    l->no_memory |= !config->name;
    config->workers = 2;
    config->delivery = (struct delivery){.batch_size = 500,
                                         .max_retries = 5,
                                         .batch_timeout_ms = 15000,
                                         .retry_min_ms = 1000,
                                         .retry_max_ms = 300000};
    config->batch_bytes = 16u << 20;
    config->max_message = 64u << 20;
    config->lease_ms = 30000;
    config->poll_interval_ms = 1000;
    config->retention_ms = 86400000;
    config->retention_failed_ms = OUTBOX_NEVER;
    config->shutdown_timeout_ms = 30000;
    config->routes.fallback = ROUTE_NONE;
    config->log_level = OUTBOX_LOG_INFO;
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
    /* FNV-1a, the NUL included, so that "a","b" is not "ab" */
    do
        hash = (hash ^ (unsigned char)*text) * 0x100000001B3u;
    while (*text++);
    return hash;
}

static const char *publisher_name(const struct config *config, size_t publisher)
{
    return publisher < config->n_publishers ? config->publishers[publisher].name : "";
}

static void set_hash(struct config *config)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < config->n_publishers; i++) {
        hash = hash_text(hash, config->publishers[i].name);
        hash = hash_text(hash, config->publishers[i].plugin->desc.name);
    }
    for (size_t i = 0; i < config->routes.n_routes; i++) {
        const struct route *route = &config->routes.routes[i];
        hash = hash_text(hash, route->name);
        for (size_t j = 0; j < route->n_matches; j++) {
            hash = hash_text(hash, route->matches[j].header ? route->matches[j].header : "");
            hash = hash_text(hash, route->matches[j].pattern) + route->matches[j].subject;
        }
        hash = hash_text(hash, publisher_name(config, route->publisher));
        hash = hash_text(hash, route->header ? route->header : "");
        for (size_t j = 0; j < route->n_targets; j++) {
            hash = hash_text(hash, route->targets[j].value);
            hash = hash_text(hash, publisher_name(config, route->targets[j].publisher));
        }
        hash = hash_text(hash, route->rule ? route->rule->desc.name : "");
    }
    hash = hash_text(hash, publisher_name(config, config->routes.fallback));
    hash += (uint64_t)config->unrouted_fail;
    snprintf(config->hash, sizeof config->hash, "%016" PRIx64, hash);
}

static int finish(struct loader *l)
{
    struct config *config = l->config;
    const char **names = calloc(config->n_publishers + 1, sizeof *names);
    if (!names)
        return OUTBOX_E_RETRY;
    for (size_t i = 0; i < config->n_publishers; i++)
        names[i] = config->publishers[i].name;
    config->routes.publishers = names;
    config->routes.n_publishers = config->n_publishers;
    set_hash(config);
    return OUTBOX_OK;
}

static void forget_mistakes(struct loader *l)
{
    for (size_t i = 0; i < l->n_mistakes; i++)
        free(l->mistakes[i].text);
    free(l->mistakes);
}

static void forget_text(char *text, size_t n)
{
    if (text)
        explicit_bzero(text, n); /* it may hold secrets */
    free(text);
}

int config_load(const char *file, config_report report, void *ctx, struct config **ret)
{
    struct loader l = {0};
    size_t n = 0;
    char *text = NULL;
    l.config = calloc(1, sizeof *l.config);
    if (!l.config || !(l.config->file = strdup(file))) {
        l.no_memory = true;
    } else {
        set_defaults(&l);
        text = read_file(&l, file, &n);
    }
    if (text && !l.no_memory) {
        l.no_memory = ini_read(text, n, take_ini_mistake, &l, &l.ini) < 0;
        if (!l.no_memory)
            load_sections(&l);
    }
    if (!l.no_memory && l.n_mistakes == 0)
        l.no_memory = finish(&l) < 0;
    if (l.no_memory)
        report(ctx, file, 0, "out of memory while reading the configuration");
    sort_mistakes(&l);
    for (size_t i = 0; i < l.n_mistakes; i++)
        report(ctx, file, l.mistakes[i].line, l.mistakes[i].text);
    bool bad = l.no_memory || l.n_mistakes > 0;
    forget_mistakes(&l);
    ini_free(l.ini);
    forget_text(text, n);
    if (bad)
        config_free(l.config);
    else
        *ret = l.config;
    return bad ? OUTBOX_E_CONFIG : OUTBOX_OK;
}

int config_plugin_dir(const char *file, config_report report, void *ctx, char **ret)
{
    struct loader l = {0};
    size_t n = 0;
    char *text = read_file(&l, file, &n);
    *ret = NULL;
    if (!text)
        report(ctx, file, 0, l.n_mistakes ? l.mistakes[0].text : "out of memory");
    else if (ini_read(text, n, take_ini_mistake, &l, &l.ini) == 0)
        for (size_t i = 0; i < l.ini->n_sections; i++) {
            const struct ini_entry *entry = entry_find(&l.ini->sections[i], "plugin_dir");
            if (entry && !*ret && strcmp(l.ini->sections[i].name, "relay") == 0)
                *ret = entry_text(&l, entry);
        }
    forget_mistakes(&l);
    ini_free(l.ini);
    forget_text(text, n);
    return text ? OUTBOX_OK : OUTBOX_E_CONFIG;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->n_publishers; i++) {
        free(config->publishers[i].name);
        options_free(config->publishers[i].options);
    }
    for (size_t i = 0; i < config->routes.n_routes; i++)
        route_free(&config->routes.routes[i]);
    free(config->publishers);
    free(config->routes.routes);
    free((void *)(uintptr_t)config->routes.publishers);
    options_free(config->store_options);
    plugin_set_free(config->plugins);
    free(config->plugin_dir);
    free(config->name);
    free(config->file);
    free(config);
}
