/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/options.h"

#include "base/hash.h"
#include "base/suggest.h"
#include "base/value.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct slot {
    bool given; /* by the file, not by default */
    char *text;
    size_t text_n;
    int64_t number;
    struct value_items items;
};

struct outbox_cfg {
    const struct plugin *plugin;
    struct slot slots[]; /* one for each option, in their order */
};

static struct slot *find(const struct outbox_cfg *cfg, const char *name)
{
    for (size_t i = 0; i < cfg->plugin->desc.n_options; i++)
        if (strcmp(plugin_option(cfg->plugin, i)->name, name) == 0)
            return (struct slot *)(uintptr_t)&cfg->slots[i];
    return NULL;
}

static void clear(struct slot *slot)
{
    if (slot->text)
        explicit_bzero(slot->text, slot->text_n); /* it may be a secret */
    free(slot->text);
    value_items_free(&slot->items);
    *slot = (struct slot){0};
}

static int check_range(const struct outbox_option *o, const char *text, int64_t n,
                       struct outbox_err *err)
{
    struct value_text low = {{0}}, high = {{0}};
    if (o->min >= o->max || (n >= o->min && n <= o->max))
        return OUTBOX_OK;
    if (o->type == OUTBOX_OPT_DURATION) {
        value_show_duration(o->min, &low);
        value_show_duration(o->max, &high);
    } else if (o->type == OUTBOX_OPT_SIZE) {
        value_show_size(o->min, &low);
        value_show_size(o->max, &high);
    } else {
        snprintf(low.text, sizeof low.text, "%" PRId64, o->min);
        snprintf(high.text, sizeof high.text, "%" PRId64, o->max);
    }
    return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is out of range; it must be %s to %s", text,
                       low.text, high.text);
}

static int check_choice(const struct outbox_option *o, const char *text, struct outbox_err *err)
{
    char all[256] = "";
    struct suggest nearest = suggest_for(text);
    struct suggest_hint hint;
    for (size_t i = 0; o->choices[i]; i++) {
        size_t used = strlen(all);
        if (strcmp(text, o->choices[i]) == 0)
            return OUTBOX_OK;
        suggest_try(&nearest, o->choices[i]);
        snprintf(all + used, sizeof all - used, "%s%s", used ? " | " : "", o->choices[i]);
    }
    return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is none of %s%s", text, all,
                       suggest_hint(&nearest, &hint));
}

static int parse_number(const struct outbox_option *o, const char *text, int64_t *ret,
                        struct outbox_err *err)
{
    int r = o->type == OUTBOX_OPT_INT        ? value_int(text, ret, err)
            : o->type == OUTBOX_OPT_BOOL     ? value_bool(text, ret, err)
            : o->type == OUTBOX_OPT_DURATION ? value_duration(text, ret, err)
                                             : value_size(text, ret, err);
    return r < 0 || o->type == OUTBOX_OPT_BOOL ? r : check_range(o, text, *ret, err);
}

static int parse(const struct outbox_option *o, const char *text, struct slot *slot,
                 struct outbox_err *err)
{
    if (o->type == OUTBOX_OPT_ARGV)
        return value_argv(text, &slot->items, err);
    if (o->type == OUTBOX_OPT_LIST)
        return value_list(text, &slot->items, err);
    int r = value_expand(text, &slot->text, err);
    if (r < 0)
        return r;
    slot->text_n = strlen(slot->text);
    if (o->type == OUTBOX_OPT_TEXT)
        return OUTBOX_OK;
    if (o->type == OUTBOX_OPT_CHOICE)
        return check_choice(o, slot->text, err);
    return parse_number(o, slot->text, &slot->number, err);
}

int options_check_defaults(const struct plugin *plugin, struct outbox_err *err)
{
    for (size_t i = 0; i < plugin->desc.n_options; i++) {
        const struct outbox_option *o = plugin_option(plugin, i);
        struct outbox_err why = {.size = sizeof why};
        struct slot slot = {0};
        int r = o->deflt ? parse(o, o->deflt, &slot, &why) : OUTBOX_OK;
        clear(&slot);
        if (r < 0)
            return outbox_fail(err, r, "declares the option `%s` with a bad default: %s", o->name,
                               why.text);
    }
    return OUTBOX_OK;
}

struct outbox_cfg *options_new(const struct plugin *plugin)
{
    size_t n = plugin->desc.n_options;
    struct outbox_cfg *cfg = calloc(1, sizeof *cfg + n * sizeof cfg->slots[0]);
    if (!cfg)
        return NULL;
    cfg->plugin = plugin;
    for (size_t i = 0; i < n; i++) {
        const struct outbox_option *o = plugin_option(plugin, i);
        if (o->deflt && parse(o, o->deflt, &cfg->slots[i], NULL) < 0) {
            options_free(cfg); /* only memory can fail here: defaults were checked */
            return NULL;
        }
    }
    return cfg;
}

void options_free(struct outbox_cfg *cfg)
{
    if (!cfg)
        return;
    for (size_t i = 0; i < cfg->plugin->desc.n_options; i++)
        clear(&cfg->slots[i]);
    free(cfg);
}

int options_set(struct outbox_cfg *cfg, const char *name, const char *value, struct outbox_err *err)
{
    struct slot *slot = find(cfg, name);
    struct slot parsed = {.given = true};
    if (!slot)
        return outbox_fail(err, OUTBOX_E_NOTSUP, "no such option");
    int r = parse(plugin_option(cfg->plugin, (size_t)(slot - cfg->slots)), value, &parsed, err);
    if (r < 0) {
        clear(&parsed);
        return r;
    }
    clear(slot);
    *slot = parsed;
    return OUTBOX_OK;
}

int options_set_secret(struct outbox_cfg *cfg, const char *name, const char *value, size_t n)
{
    struct slot *slot = find(cfg, name);
    char *copy = malloc(n + 1);
    if (!copy)
        return OUTBOX_E_RETRY;
    memcpy(copy, value, n);
    copy[n] = '\0';
    clear(slot);
    slot->given = true;
    slot->text = copy;
    slot->text_n = n;
    return OUTBOX_OK;
}

bool options_is_secret(const struct outbox_option *option, const char *text)
{
    if (option->flags & OUTBOX_OPT_SECRET)
        return true;
    return (option->flags & OUTBOX_OPT_MAY_BE_SECRET) && text && value_holds_password(text);
}

bool options_given(const struct outbox_cfg *cfg, const char *name)
{
    const struct slot *slot = find(cfg, name);
    return slot && slot->given;
}

const char *options_missing(const struct outbox_cfg *cfg)
{
    for (size_t i = 0; i < cfg->plugin->desc.n_options; i++) {
        const struct outbox_option *o = plugin_option(cfg->plugin, i);
        if ((o->flags & OUTBOX_OPT_REQUIRED) && !o->deflt && !cfg->slots[i].given)
            return o->name;
    }
    return NULL;
}

bool options_too_long(const struct outbox_cfg *cfg, const struct outbox_option *option,
                      int64_t batch_timeout_ms)
{
    return (option->flags & OUTBOX_OPT_BELOW_BATCH_TIMEOUT) &&
           options_int(cfg, option->name) >= batch_timeout_ms;
}

uint64_t options_hash(const struct outbox_cfg *cfg, uint64_t hash)
{
    for (size_t i = 0; i < cfg->plugin->desc.n_options; i++) {
        const struct outbox_option *o = plugin_option(cfg->plugin, i);
        const struct slot *slot = &cfg->slots[i];
        if (options_is_secret(o, slot->text))
            continue;
        hash = hash_text(hash_text(hash, o->name), slot->text);
        hash = hash_number(hash_number(hash, (uint64_t)slot->number), slot->items.n);
        for (size_t j = 0; j < slot->items.n; j++)
            hash = hash_text(hash, slot->items.items[j]);
    }
    return hash;
}

struct outbox_str options_text(const struct outbox_cfg *cfg, const char *name)
{
    const struct slot *slot = find(cfg, name);
    if (!slot || !slot->text)
        return (struct outbox_str){NULL, 0};
    return (struct outbox_str){slot->text, slot->text_n};
}

int64_t options_int(const struct outbox_cfg *cfg, const char *name)
{
    const struct slot *slot = find(cfg, name);
    return slot ? slot->number : 0;
}

uint64_t options_count(const struct outbox_cfg *cfg, const char *name)
{
    const struct slot *slot = find(cfg, name);
    return slot ? slot->items.n : 0;
}

struct outbox_str options_item(const struct outbox_cfg *cfg, const char *name, uint64_t index)
{
    const struct slot *slot = find(cfg, name);
    if (!slot || index >= slot->items.n)
        return (struct outbox_str){NULL, 0};
    return outbox_cstr(slot->items.items[index]);
}
