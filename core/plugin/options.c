/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/options.h"

#include "base/hash.h"
#include "plugin/option_value.h"

#include <outbox/helpers.h>

#include <stdlib.h>
#include <string.h>

struct outbox_cfg {
    const struct plugin *plugin;
    struct option_value values[]; /* one for each option, in their order */
};

static struct option_value *find(const struct outbox_cfg *cfg, const char *name)
{
    for (size_t i = 0; i < cfg->plugin->desc.n_options; i++)
        if (strcmp(descriptor_option(cfg->plugin, i)->name, name) == 0)
            return (struct option_value *)(uintptr_t)&cfg->values[i];
    return NULL;
}

struct outbox_cfg *options_new(const struct plugin *plugin)
{
    size_t n = plugin->desc.n_options;
    struct outbox_cfg *cfg = calloc(1, sizeof *cfg + n * sizeof cfg->values[0]);
    if (!cfg)
        return NULL;
    cfg->plugin = plugin;
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
    if (!cfg)
        return;
    for (size_t i = 0; i < cfg->plugin->desc.n_options; i++)
        option_value_clear(&cfg->values[i]);
    free(cfg);
}

int options_set(struct outbox_cfg *cfg, const char *name, const char *value, struct outbox_err *err)
{
    struct option_value *to = find(cfg, name);
    struct option_value parsed = {0};
    if (!to)
        return outbox_fail(err, OUTBOX_E_NOTSUP, "no such option");
    const struct outbox_option *o = descriptor_option(cfg->plugin, (size_t)(to - cfg->values));
    int r = option_value_parse(o, value, &parsed, err);
    if (r == OUTBOX_E_CONFIG && option_value_spells_secret(o, value))
        outbox_fail(err, r,
                    "a `${` in it does not begin a set environment variable; write `$${` for a "
                    "literal `${`"); /* the parser's text could show a part of the secret */
    if (r < 0)
        return r;
    option_value_clear(to);
    *to = parsed;
    to->given = true;
    return OUTBOX_OK;
}

int options_set_secret(struct outbox_cfg *cfg, const char *name, const char *value, size_t n)
{
    struct option_value *to = find(cfg, name);
    char *copy = malloc(n + 1);
    if (!copy)
        return OUTBOX_E_RETRY;
    memcpy(copy, value, n);
    copy[n] = '\0';
    option_value_clear(to);
    *to = (struct option_value){.given = true, .text = copy, .text_n = n};
    return OUTBOX_OK;
}

bool options_given(const struct outbox_cfg *cfg, const char *name)
{
    const struct option_value *value = find(cfg, name);
    return value && value->given;
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

uint64_t options_hash(const struct outbox_cfg *cfg, uint64_t hash)
{
    for (size_t i = 0; i < cfg->plugin->desc.n_options; i++) {
        const struct outbox_option *o = descriptor_option(cfg->plugin, i);
        const struct option_value *value = &cfg->values[i];
        if (option_value_is_secret(o, value->text))
            continue;
        hash = hash_text(hash_text(hash, o->name), value->text);
        hash = hash_number(hash_number(hash, (uint64_t)value->number), value->items.n);
        for (size_t j = 0; j < value->items.n; j++)
            hash = hash_text(hash, value->items.items[j]);
    }
    return hash;
}

struct outbox_str options_text(const struct outbox_cfg *cfg, const char *name)
{
    const struct option_value *value = find(cfg, name);
    if (!value || !value->text)
        return (struct outbox_str){NULL, 0};
    return (struct outbox_str){value->text, value->text_n};
}

int64_t options_int(const struct outbox_cfg *cfg, const char *name)
{
    const struct option_value *value = find(cfg, name);
    return value ? value->number : 0;
}

uint64_t options_count(const struct outbox_cfg *cfg, const char *name)
{
    const struct option_value *value = find(cfg, name);
    return value ? value->items.n : 0;
}

struct outbox_str options_item(const struct outbox_cfg *cfg, const char *name, uint64_t index)
{
    const struct option_value *value = find(cfg, name);
    if (!value || index >= value->items.n)
        return (struct outbox_str){NULL, 0};
    return outbox_cstr(value->items.items[index]);
}
