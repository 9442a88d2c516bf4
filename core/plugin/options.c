/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/options.h"

#include "base/hash.h"
#include "common/utf8.h"
#include "plugin/secret_file.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct value {
    bool given; /* by the file, not by default */
    char *file; /* where the text comes from, if not from the configuration itself */
    char *text; /* TEXT, CHOICE and numbers */
    size_t text_n;
    int64_t number;           /* INT, BOOL, DURATION (ms), SIZE */
    struct value_items items; /* ARGV, LIST */
};

struct outbox_cfg {
    const struct plugin *plugin;
    _Atomic unsigned owners;
    struct value values[]; /* one for each option, in their order */
};

/* ---- one value ---- */

static void clear(struct value *value)
{
    if (value->text)
        explicit_bzero(value->text, value->text_n); /* it may be a secret */
    free(value->text);
    free(value->file);
    value_items_free(&value->items);
    *value = (struct value){0};
}

const char *options_show(const struct outbox_option *o, int64_t n, struct value_text *buffer)
{
    if (o->type == OUTBOX_OPT_DURATION)
        return value_show_duration(n, buffer);
    if (o->type == OUTBOX_OPT_SIZE)
        return value_show_size(n, buffer);
    snprintf(buffer->text, sizeof buffer->text, "%" PRId64, n);
    return buffer->text;
}

static int check_range(const struct outbox_option *o, int64_t n, const char *text,
                       struct outbox_err *err)
{
    struct value_text low, high;
    if (o->min >= o->max || (n >= o->min && n <= o->max))
        return OUTBOX_OK;
    return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is out of range; it must be %s to %s", text,
                       options_show(o, o->min, &low), options_show(o, o->max, &high));
}

static int check_choice(const struct outbox_option *o, const char *text, struct outbox_err *err)
{
    char all[256] = "";
    struct suggest similar = suggest_for(text);
    for (size_t i = 0; o->choices[i]; i++) {
        size_t used = strlen(all);
        if (strcmp(text, o->choices[i]) == 0)
            return OUTBOX_OK;
        suggest_try(&similar, o->choices[i]);
        snprintf(all + used, sizeof all - used, "%s%s", used ? " | " : "", o->choices[i]);
    }
    return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is none of %s%s", text, all,
                       suggest_hint(&similar));
}

static int check_line(const struct outbox_option *o, const char *text, struct outbox_err *err)
{
    size_t n = strlen(text);
    if (n < (size_t)o->min || n > (size_t)o->max)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "is %s; it must have %" PRId64 " to %" PRId64 " bytes",
                           n == 0 ? "empty" : "too long", o->min, o->max);
    for (size_t i = 0, len; i < n; i += len) {
        len = utf8_char(text + i, n - i);
        if (len == 0 || utf8_control(text + i, len) != UTF8_NO_CONTROL)
            return outbox_fail(err, OUTBOX_E_CONFIG, "holds a character that cannot be printed");
    }
    return OUTBOX_OK;
}

static int parse_number(const struct outbox_option *o, const char *text, int64_t *ret,
                        struct outbox_err *err)
{
    int r = o->type == OUTBOX_OPT_INT        ? value_int(text, ret, err)
            : o->type == OUTBOX_OPT_BOOL     ? value_bool(text, ret, err)
            : o->type == OUTBOX_OPT_DURATION ? value_duration(text, ret, err)
                                             : value_size(text, ret, err);
    return r < 0 || o->type == OUTBOX_OPT_BOOL ? r : check_range(o, *ret, text, err);
}

static int parse(const struct outbox_option *o, const char *text, struct value *ret,
                 struct outbox_err *err)
{
    if (o->type == OUTBOX_OPT_ARGV)
        return value_argv(text, &ret->items, err);
    if (o->type == OUTBOX_OPT_LIST)
        return value_list(text, &ret->items, err);
    int r = value_expand(text, &ret->text, err);
    if (r < 0)
        return r;
    ret->text_n = strlen(ret->text);
    if (o->type == OUTBOX_OPT_TEXT)
        return o->flags & OPTIONS_LINE ? check_line(o, ret->text, err) : OUTBOX_OK;
    if (o->type == OUTBOX_OPT_CHOICE)
        return check_choice(o, ret->text, err);
    return parse_number(o, ret->text, &ret->number, err);
}

int options_check_default(const struct outbox_option *option, struct outbox_err *err)
{
    struct value value = {0};
    int r = option->deflt ? parse(option, option->deflt, &value, err) : OUTBOX_OK;
    clear(&value);
    return r;
}

bool options_is_secret(const struct outbox_option *option, const char *text)
{
    if (option->flags & OUTBOX_OPT_SECRET)
        return true;
    return (option->flags & OUTBOX_OPT_MAY_BE_SECRET) && text && value_holds_password(text);
}

bool options_spells_secret(const struct outbox_option *option, const char *text)
{
    const char *end = strchr(text, '}');
    bool is_variable = strncmp(text, "${", 2) == 0 && end && end[1] == '\0';
    return options_is_secret(option, text) && !is_variable;
}

/* ---- all values of a section ---- */

static struct value *find(const struct outbox_cfg *cfg, const char *name)
{
    for (size_t i = 0; i < cfg->plugin->desc.n_options; i++)
        if (strcmp(descriptor_option(cfg->plugin, i)->name, name) == 0)
            return (struct value *)(uintptr_t)&cfg->values[i];
    return NULL;
}

static const struct outbox_option *option_of(const struct outbox_cfg *cfg,
                                             const struct value *value)
{
    return descriptor_option(cfg->plugin, (size_t)(value - cfg->values));
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
        if (o->deflt && parse(o, o->deflt, &cfg->values[i], NULL) < 0) {
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
        clear(&cfg->values[i]);
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
    struct value *to = find(cfg, name);
    struct value parsed = {.given = true};
    if (!to)
        return outbox_fail(err, OUTBOX_E_NOTSUP, "no such option");
    const struct outbox_option *o = option_of(cfg, to);
    int r = parse(o, value, &parsed, err);
    if (r < 0) {
        clear(&parsed);
        if (r == OUTBOX_E_CONFIG && options_spells_secret(o, value))
            outbox_fail(err, r,
                        "a `${` in it does not begin a set environment variable; write `$${` for "
                        "a literal `${`"); /* the parser's text could show a part of the secret */
        return r;
    }
    clear(to);
    *to = parsed;
    return OUTBOX_OK;
}

int options_set_int(struct outbox_cfg *cfg, const char *name, int64_t n, struct outbox_err *err)
{
    struct value *to = find(cfg, name);
    const struct outbox_option *o = option_of(cfg, to);
    struct outbox_err why = {.size = sizeof why};
    struct value_text shown;
    int r = check_range(o, n, options_show(o, n, &shown), &why);
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
    return o && (o->flags & (OUTBOX_OPT_SECRET | OUTBOX_OPT_MAY_BE_SECRET)) ? o : NULL;
}

int options_set_from_file(struct outbox_cfg *cfg, const char *name, const char *path,
                          struct outbox_err *err)
{
    struct file file;
    int r = secret_file_read(path, &file, err);
    struct value read = {.given = true};
    if (r == 0) {
        read.text = strndup(file.text, file.n);
        read.text_n = file.n;
        read.file = strdup(path);
    }
    file_forget(&file);
    if (r == 0 && (!read.text || !read.file)) {
        clear(&read);
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    if (r < 0)
        return r;
    struct value *to = find(cfg, name);
    clear(to);
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
    for (size_t i = 0; i < cfg->plugin->desc.n_options; i++) {
        const struct outbox_option *o = descriptor_option(cfg->plugin, i);
        const struct value *value = &cfg->values[i];
        if (options_is_secret(o, value->text))
            continue;
        hash = hash_text(hash_text(hash, o->name), value->text);
        hash = hash_number(hash_number(hash, (uint64_t)value->number), value->items.n);
        for (size_t j = 0; j < value->items.n; j++)
            hash = hash_text(hash, value->items.items[j]);
    }
    return hash;
}

const char *options_file(const struct outbox_cfg *cfg, const char *name)
{
    return find(cfg, name)->file;
}

int options_choice(const struct outbox_cfg *cfg, const char *name)
{
    const struct value *value = find(cfg, name);
    const struct outbox_option *o = option_of(cfg, value);
    int i = 0;
    while (strcmp(o->choices[i], value->text) != 0)
        i++;
    return i;
}

/* An empty value for a name that is not declared. */
static const struct value *get(const struct outbox_cfg *cfg, const char *name)
{
    static const struct value empty;
    const struct value *value = find(cfg, name);
    return value ? value : &empty;
}

bool options_given(const struct outbox_cfg *cfg, const char *name)
{
    return get(cfg, name)->given;
}

struct outbox_str options_text(const struct outbox_cfg *cfg, const char *name)
{
    const struct value *value = get(cfg, name);
    return (struct outbox_str){value->text, value->text_n};
}

int64_t options_int(const struct outbox_cfg *cfg, const char *name)
{
    return get(cfg, name)->number;
}

uint64_t options_count(const struct outbox_cfg *cfg, const char *name)
{
    return get(cfg, name)->items.n;
}

int32_t options_is_set(const struct outbox_cfg *cfg, const char *name)
{
    return options_given(cfg, name);
}

/* No option of this host has keys yet. */
struct outbox_str options_key(const struct outbox_cfg *cfg, const char *name, uint64_t index)
{
    (void)cfg;
    (void)name;
    (void)index;
    return outbox_cstr(NULL);
}

struct outbox_str options_item(const struct outbox_cfg *cfg, const char *name, uint64_t index)
{
    const struct value_items *items = &get(cfg, name)->items;
    return outbox_cstr(index < items->n ? items->items[index] : NULL);
}

int options_read(const struct outbox_cfg *cfg, const char *name, char *buf, uint64_t cap,
                 uint64_t *ret_n, struct outbox_err *err)
{
    const struct value *value = get(cfg, name);
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
