/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/options.h"

#include "plugin/secret_file.h"

#include <outbox/helpers.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct outbox_cfg {
    const struct plugin *plugin;
    _Atomic unsigned owners;
    char *file;                   /* that it was read from; NULL: made in code */
    int line;                     /* of its section */
    struct option_value values[]; /* one for each option, in their order */
};

static struct option_value *find(const struct outbox_cfg *cfg, const char *name)
{
    for (size_t i = 0; i < cfg->plugin->desc.n_options; i++)
        if (strcmp(descriptor_option(cfg->plugin, i)->name, name) == 0)
            return (struct option_value *)(uintptr_t)&cfg->values[i];
    return NULL;
}

static const struct outbox_option *option_of(const struct outbox_cfg *cfg,
                                             const struct option_value *value)
{
    return descriptor_option(cfg->plugin, (size_t)(value - cfg->values));
}

/* The group whose prefix `name` has, and the rest of the name; NULL: none. */
static struct option_value *find_group(const struct outbox_cfg *cfg, const char *name,
                                       const char **ret_key)
{
    const struct outbox_option *o = descriptor_find_option(cfg->plugin, name, strlen(name));
    if (!o || o->type != OUTBOX_OPT_PREFIX || strlen(o->name) == strlen(name))
        return NULL;
    *ret_key = name + strlen(o->name) + 1;
    return find(cfg, o->name);
}

struct outbox_cfg *options_new(const struct plugin *plugin)
{
    size_t n = plugin->desc.n_options;
    struct outbox_cfg *cfg = calloc(1, sizeof *cfg + n * sizeof cfg->values[0]);
    if (!cfg)
        return NULL;
    cfg->plugin = plugin;
    cfg->owners = 1;
    for (size_t i = 0; i < n; i++) {
        const struct outbox_option *o = descriptor_option(plugin, i);
        if (o->deflt && option_value_parse(o, o->deflt, &cfg->values[i], NULL) < 0) {
            options_free(cfg); /* only memory can fail here: defaults were checked */
            return NULL;
        }
    }
    return cfg;
}

void options_free(struct outbox_cfg *cfg)
{
    if (!cfg || atomic_fetch_sub(&cfg->owners, 1) > 1)
        return;
    for (size_t i = 0; i < cfg->plugin->desc.n_options; i++)
        option_value_clear(&cfg->values[i]);
    free(cfg->file);
    free(cfg);
}

struct outbox_cfg *options_share(struct outbox_cfg *cfg)
{
    atomic_fetch_add(&cfg->owners, 1);
    return cfg;
}

/* The old value stays until the new one is known to be right. */
int options_set(struct outbox_cfg *cfg, const char *name, const char *value, struct outbox_err *err)
{
    const char *key;
    struct option_value *to = find_group(cfg, name, &key);
    struct option_value parsed = {.given = true};
    if (to)
        return option_value_add(option_of(cfg, to), to, key, value, err);
    if (!(to = find(cfg, name)))
        return outbox_fail(err, OUTBOX_E_NOTSUP, "no such option");
    int r = option_value_parse(option_of(cfg, to), value, &parsed, err);
    if (r < 0) {
        option_value_clear(&parsed);
        return r;
    }
    option_value_clear(to);
    *to = parsed;
    return OUTBOX_OK;
}

int options_set_int(struct outbox_cfg *cfg, const char *name, int64_t n, struct outbox_err *err)
{
    struct option_value *to = find(cfg, name);
    const struct outbox_option *o = option_of(cfg, to);
    struct outbox_err why = {.size = sizeof why};
    struct value_text shown;
    int r = option_value_check_range(o, n, option_value_show(o, n, &shown), &why);
    if (r < 0)
        return outbox_fail(err, r, "%s: %s", name, why.text);
    to->given = true;
    to->number = n;
    return OUTBOX_OK;
}

const struct outbox_option *options_of_file(const struct plugin *plugin, const char *key)
{
    size_t n = strlen(key);
    if (n <= 5 || strcmp(key + n - 5, "_file") != 0)
        return NULL;
    const struct outbox_option *o = descriptor_find_option(plugin, key, n - 5);
    return o && o->type == OUTBOX_OPT_TEXT &&
                   (o->flags & (OUTBOX_OPT_SECRET | OUTBOX_OPT_MAY_BE_SECRET))
               ? o
               : NULL;
}

int options_set_from_file(struct outbox_cfg *cfg, const char *name, const char *path,
                          struct outbox_err *err)
{
    struct file file;
    int r = secret_file_read(path, &file, err);
    struct option_value read = {.given = true};
    if (r == 0) {
        read.text = strndup(file.text, file.n);
        read.text_n = file.n;
        read.file = strdup(path);
    }
    file_forget(&file);
    if (r == 0 && (!read.text || !read.file)) {
        option_value_clear(&read);
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    if (r < 0)
        return r;
    struct option_value *to = find(cfg, name);
    option_value_clear(to);
    *to = read;
    return OUTBOX_OK;
}

const char *options_missing(const struct outbox_cfg *cfg)
{
    for (size_t i = 0; i < cfg->plugin->desc.n_options; i++) {
        const struct outbox_option *o = descriptor_option(cfg->plugin, i);
        if ((o->flags & OUTBOX_OPT_REQUIRED) && !o->deflt && !cfg->values[i].given)
            return o->name;
    }
    return NULL;
}

int options_check_timeout(const struct outbox_cfg *cfg, const struct outbox_option *option,
                          int64_t batch_timeout_ms, struct outbox_err *err)
{
    struct value_text own, batch;
    int64_t ms = options_int(cfg, option->name);
    if (!(option->flags & OUTBOX_OPT_BELOW_BATCH_TIMEOUT) || ms < batch_timeout_ms)
        return OUTBOX_OK;
    return outbox_fail(err, OUTBOX_E_CONFIG,
                       "%s (%s) must be shorter than batch_timeout (%s), or no batch could be "
                       "settled in time",
                       option->name, value_show_duration(ms, &own),
                       value_show_duration(batch_timeout_ms, &batch));
}

void options_suggest(const struct plugin *plugin, struct suggest *similar)
{
    for (size_t i = 0; i < plugin->desc.n_options; i++)
        suggest_try(similar, descriptor_option(plugin, i)->name);
}

uint64_t options_hash(const struct outbox_cfg *cfg, uint64_t hash)
{
    for (size_t i = 0; i < cfg->plugin->desc.n_options; i++)
        hash = option_value_hash(descriptor_option(cfg->plugin, i), &cfg->values[i], hash);
    return hash;
}

const char *options_file(const struct outbox_cfg *cfg, const char *name)
{
    return find(cfg, name)->file;
}

/* ---- where they stand in the file ---- */

void options_read_from(struct outbox_cfg *cfg, const char *file, int line)
{
    free(cfg->file);
    cfg->file = strdup(file); /* without memory errors lack their place */
    cfg->line = line;
}

void options_set_line(struct outbox_cfg *cfg, const char *name, int line)
{
    const char *key;
    struct option_value *value = find_group(cfg, name, &key);
    struct option_setting *setting = value ? option_value_setting(value, key) : NULL;
    if (setting)
        setting->line = line;
    if (!value)
        value = find(cfg, name);
    if (!value->line)
        value->line = line; /* a group's: that of its first setting */
}

int options_line(const struct outbox_cfg *cfg, const char *name)
{
    const char *key;
    const struct option_value *value = find_group(cfg, name, &key);
    const struct option_setting *setting = value ? option_value_setting(value, key) : NULL;
    if (setting && setting->line)
        return setting->line;
    if (!value)
        value = find(cfg, name);
    return value && value->line ? value->line : cfg->line;
}

const char *options_place(const struct outbox_cfg *cfg, const char *name,
                          char buffer[OPTIONS_PLACE_SIZE])
{
    buffer[0] = '\0';
    if (cfg && cfg->file)
        snprintf(buffer, OPTIONS_PLACE_SIZE, "%.*s:%d: ", OPTIONS_PLACE_SIZE - 16, cfg->file,
                 options_line(cfg, name));
    return buffer;
}

/* ---- what is read ---- */

int options_choice(const struct outbox_cfg *cfg, const char *name)
{
    const struct option_value *value = find(cfg, name);
    const struct outbox_option *o = option_of(cfg, value);
    int i = 0;
    while (strcmp(o->choices[i], value->text) != 0)
        i++;
    return i;
}

/* An empty value for a name that is not declared. */
static const struct option_value *get(const struct outbox_cfg *cfg, const char *name)
{
    static const struct option_value empty;
    const struct option_value *value = find(cfg, name);
    return value ? value : &empty;
}

bool options_given(const struct outbox_cfg *cfg, const char *name)
{
    return get(cfg, name)->given;
}

struct outbox_str options_text(const struct outbox_cfg *cfg, const char *name)
{
    const struct option_value *value = get(cfg, name);
    return (struct outbox_str){value->text, value->text_n};
}

int64_t options_int(const struct outbox_cfg *cfg, const char *name)
{
    return get(cfg, name)->number;
}

int32_t options_is_set(const struct outbox_cfg *cfg, const char *name)
{
    return options_given(cfg, name);
}

uint64_t options_count(const struct outbox_cfg *cfg, const char *name)
{
    const struct option_value *value = get(cfg, name);
    return value->items.n + value->n_settings; /* an option has one of both */
}

struct outbox_str options_item(const struct outbox_cfg *cfg, const char *name, uint64_t index)
{
    const struct option_value *value = get(cfg, name);
    if (index < value->n_settings)
        return outbox_cstr(value->settings[index].text);
    return outbox_cstr(index < value->items.n ? value->items.items[index] : NULL);
}

struct outbox_str options_key(const struct outbox_cfg *cfg, const char *name, uint64_t index)
{
    const struct option_value *value = get(cfg, name);
    return outbox_cstr(index < value->n_settings ? value->settings[index].key : NULL);
}

int options_read(const struct outbox_cfg *cfg, const char *name, char *buf, uint64_t cap,
                 uint64_t *ret_n, struct outbox_err *err)
{
    const struct option_value *value = get(cfg, name);
    struct file file = {0};
    int r = value->file ? secret_file_read(value->file, &file, err) : OUTBOX_OK;
    if (r < 0)
        return r;
    const char *text = value->file ? file.text : value->text;
    size_t n = value->file ? file.n : value->text_n;
    if (!text || n >= cap) {
        r = outbox_fail(err, OUTBOX_E_CONFIG, "%s is %s", name, text ? "too long" : "not set");
    } else {
        memcpy(buf, text, n);
        buf[n] = '\0';
        *ret_n = n;
    }
    file_forget(&file);
    return r;
}
