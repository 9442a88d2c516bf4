/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/options.h"

#include <outbox/helpers.h>

#include <string.h>

static bool is_number(const struct outbox_option *o)
{
    return o->type == OUTBOX_OPT_INT || o->type == OUTBOX_OPT_BOOL ||
           o->type == OUTBOX_OPT_DURATION || o->type == OUTBOX_OPT_SIZE;
}

static bool is_same(const struct outbox_option *o, bool told_if_set, const struct outbox_cfg *a,
                    const struct outbox_cfg *b)
{
    const char *from = options_file(a, o->name), *to = options_file(b, o->name);
    if (told_if_set && options_is_set(a, o->name) != options_is_set(b, o->name))
        return false;
    if (from || to)
        return from && to && strcmp(from, to) == 0;
    if (is_number(o)) /* "1m" is "60s"; and 0 may be no value at all */
        return options_int(a, o->name) == options_int(b, o->name) &&
               !options_text(a, o->name).p == !options_text(b, o->name).p;
    uint64_t n = options_count(a, o->name);
    bool same = outbox_str_eq(options_text(a, o->name), options_text(b, o->name)) &&
                n == options_count(b, o->name);
    for (uint64_t i = 0; same && i < n; i++)
        same = outbox_str_eq(options_item(a, o->name, i), options_item(b, o->name, i)) &&
               outbox_str_eq(options_key(a, o->name, i), options_key(b, o->name, i));
    return same;
}

size_t options_compare(const struct plugin *plugin, const struct outbox_cfg *before,
                       const struct outbox_cfg *after, options_change_fn changed, void *ctx)
{
    size_t n = 0;
    bool told_if_set = plugin->desc.kind != 0; /* the core's own sections are not */
    for (size_t i = 0; i < plugin->desc.n_options; i++) {
        const struct outbox_option *o = descriptor_option(plugin, i);
        const char *from = options_text(before, o->name).p, *to = options_text(after, o->name).p;
        if (is_same(o, told_if_set, before, after))
            continue;
        n++;
        bool secret = option_value_is_secret(o, NULL, from) || option_value_is_secret(o, NULL, to);
        changed(ctx, o->name, secret ? NULL : from, secret ? NULL : to);
    }
    return n;
}
