/* SPDX-License-Identifier: Apache-2.0 */
#include "base/array.h"
#include "config/load.h"

#include <outbox/helpers.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (16 << 20)

/* ---- mistakes ---- */

void diag_error(struct loader *l, int line, const char *fmt, ...)
{
    va_list ap;
    char *text = NULL;
    if (l->n_mistakes == MISTAKES_MAX) {
        l->n_untold++;
        return;
    }
    struct mistake *grown = array_grow(l->mistakes, l->n_mistakes, sizeof *grown);
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
    grown[l->n_mistakes] = (struct mistake){line, l->n_mistakes, text};
    l->n_mistakes++;
}

void diag_error_from(struct loader *l, int line, const char *key, int r,
                     const struct outbox_err *err)
{
    if (r == OUTBOX_E_RETRY)
        l->no_memory = true;
    else
        diag_error(l, line, "%s%s%s", key ? key : "", key ? ": " : "", err->text);
}

static void take_ini_mistake(void *ctx, int line, const char *text)
{
    diag_error(ctx, line, "%s", text);
}

static int compare_mistakes(const void *a, const void *b)
{
    const struct mistake *x = a, *y = b;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static void forget_mistakes(struct loader *l)
{
    for (size_t i = 0; i < l->n_mistakes; i++)
        free(l->mistakes[i].text);
    free(l->mistakes);
}

static void tell_mistakes(struct loader *l, const char *file, config_report report, void *ctx)
{
    if (l->no_memory) { /* what else seems wrong may only not have been read */
        report(ctx, file, 0, "out of memory while reading the configuration");
        return;
    }
    if (l->n_mistakes > 0)
        qsort(l->mistakes, l->n_mistakes, sizeof *l->mistakes, compare_mistakes);
    for (size_t i = 0; i < l->n_mistakes; i++)
        report(ctx, file, l->mistakes[i].line, l->mistakes[i].text);
    if (l->n_untold > 0) {
        char text[64];
        snprintf(text, sizeof text, "and %zu more mistakes", l->n_untold);
        report(ctx, file, 0, text);
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
    int r = value_expand(text, &expanded, &err);
    if (r < 0)
        diag_error_from(l, entry->line, entry->key, r, &err);
    free(text);
    return expanded;
}

/* Reads n bytes at most; how many there were, or -1. */
static ssize_t read_all(int fd, char *to, size_t n)
{
    size_t had = 0;
    while (had < n) {
        ssize_t got = read(fd, to + had, n - had);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        had += (size_t)got;
    }
    return (ssize_t)had;
}

/* Its text for free(), or NULL after a complaint. */
static char *read_file(struct loader *l, const char *file, size_t *ret_n)
{
    struct stat st;
    char *text = NULL;
    ssize_t got = -1;
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0) {
        diag_error(l, 0, "cannot be read: %s%s", strerror(errno),
                   errno == ENOENT ? "; write it, or name another one with -c" : "");
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        diag_error(l, 0, "is not a regular file");
        goto out;
    }
    if (st.st_size > FILE_MAX) {
        diag_error(l, 0, "is longer than %dM", FILE_MAX >> 20);
        goto out;
    }
    l->mode = st.st_mode;
    /* One byte more than it had tells whether it grows. */
    size_t size = (size_t)st.st_size + 1;
    text = malloc(size);
    l->no_memory |= !text;
    if (text)
        got = read_all(fd, text, size);
    if (text && (got < 0 || (size_t)got == size)) {
        diag_error(l, 0, got < 0 ? "cannot be read to its end: %s" : "changed while it was read",
                   strerror(errno));
        explicit_bzero(text, size);
        free(text);
        text = NULL;
    }
    *ret_n = text ? (size_t)got : 0;
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
    static const char *const plain[] = {"relay", "store", "router", "http", "log"};
    static const char *const named[] = {"publisher", "route"};
    size_t n = strcspn(section->name, " ");
    const char *name = section->name + n;
    char kind[64], meant[160];
    snprintf(kind, sizeof kind, "%.*s", (int)(n < sizeof kind ? n : sizeof kind - 1),
             section->name);
    struct suggest nearest = suggest_for(kind), whole = suggest_for(section->name);
    struct suggest_hint hint;
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        suggest_try(&nearest, plain[i]);
    const char *without = nearest.best;
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++)
        suggest_try(&nearest, named[i]);
    if (nearest.best && nearest.best != without) {
        if (strcmp(kind, nearest.best) == 0) {
            diag_error(l, section->line, "[%s] needs a name: [%s NAME]", kind, kind);
            return;
        }
        snprintf(meant, sizeof meant, "%s%.64s", nearest.best, *name ? name : " NAME");
        whole.best = meant;
    } else {
        whole.best = without;
    }
    diag_error(l, section->line, "unknown section [%.80s]%s", section->name,
               suggest_hint(&whole, &hint));
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
            diag_error(l, section->line, "[http] is not supported yet");
    } else if (strcmp(section->name, "store") == 0) {
        if (pass == PASS_PUBLISHERS && !l->config->store_line)
            load_store(l, section);
    } else if ((name = after(section->name, "publisher "))) {
        l->publisher_seen = true;
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
        diag_error(l, 1, "there is no [store] section; it says where the messages are");
    if (!l->publisher_seen)
        diag_error(l, 1, "there is no [publisher NAME] section; it says where the messages go");
}

/* ---- the whole ---- */

struct config *config_new(const char *file)
{
    char name[256] = "";
    struct config *config = calloc(1, sizeof *config);
    if (!config)
        return NULL;
    if (gethostname(name, sizeof name - 1) < 0 || !name[0])
        snprintf(name, sizeof name, "outboxd");
    config->file = strdup(file);
    config->name = strdup(name);
    if (!config->file || !config->name) {
        config_free(config);
        return NULL;
    }
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
    return config;
}

int config_finish(struct config *config)
{
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
    l.config = config_new(file);
    l.no_memory = !l.config;
    if (l.config)
        text = read_file(&l, file, &n);
    if (text && !l.no_memory) {
        l.no_memory = ini_read(text, n, take_ini_mistake, &l, &l.ini) < 0;
        if (!l.no_memory)
            load_sections(&l);
    }
    if (!l.no_memory && l.n_mistakes == 0)
        l.no_memory = config_finish(l.config) < 0;
    bool bad = l.no_memory || l.n_mistakes > 0;
    tell_mistakes(&l, file, report, ctx);
    forget_mistakes(&l);
    ini_free(l.ini);
    forget_text(text, n);
    if (bad)
        config_free(l.config);
    else
        *ret = l.config;
    return l.no_memory ? OUTBOX_E_RETRY : bad ? OUTBOX_E_CONFIG : OUTBOX_OK;
}

int config_plugin_dir(const char *file, config_report report, void *ctx, char **ret)
{
    struct loader l = {0};
    size_t n = 0;
    char *text = read_file(&l, file, &n);
    bool bad = !text;
    *ret = NULL;
    if (text)
        l.no_memory = ini_read(text, n, take_ini_mistake, &l, &l.ini) < 0;
    if (!text)
        report(ctx, file, 0, l.n_mistakes ? l.mistakes[0].text : "out of memory");
    else if (!l.no_memory)
        for (size_t i = 0; i < l.ini->n_sections && !bad && !*ret; i++) {
            const struct ini_entry *entry = entry_find(&l.ini->sections[i], "plugin_dir");
            if (!entry || strcmp(l.ini->sections[i].name, "relay") != 0)
                continue;
            *ret = entry_text(&l, entry);
            bad = !*ret;
            if (bad && l.n_mistakes > 0)
                report(ctx, file, entry->line, l.mistakes[l.n_mistakes - 1].text);
        }
    if (text && l.no_memory)
        report(ctx, file, 0, "out of memory while reading the configuration");
    forget_mistakes(&l);
    ini_free(l.ini);
    forget_text(text, n);
    return l.no_memory ? OUTBOX_E_RETRY : bad ? OUTBOX_E_CONFIG : OUTBOX_OK;
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
