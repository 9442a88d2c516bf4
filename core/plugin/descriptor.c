/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/descriptor.h"

#include "base/name.h"
#include "plugin/delivery.h"
#include "plugin/option_value.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

const char *descriptor_kind_name(uint32_t kind)
{
    static const char *const names[] = {"unknown", "store", "publisher", "rule"};
    return names[kind <= OUTBOX_KIND_RULE ? kind : 0];
}

const char *descriptor_kind_prefix(uint32_t kind)
{
    static const char *const prefixes[] = {"", "store", "pub", "rule"};
    return prefixes[kind <= OUTBOX_KIND_RULE ? kind : 0];
}

const struct outbox_option *descriptor_option(const struct plugin *plugin, size_t i)
{
    return (const void *)((const char *)plugin->desc.options + i * plugin->desc.option_stride);
}

const struct outbox_option *descriptor_find_option(const struct plugin *plugin, const char *name,
                                                   size_t n)
{
    for (size_t i = 0; i < plugin->desc.n_options; i++) {
        const struct outbox_option *o = descriptor_option(plugin, i);
        size_t own = strlen(o->name);
        if (own > n || strncmp(o->name, name, own) != 0)
            continue;
        if (own == n || (o->type == OUTBOX_OPT_PREFIX && name[own] == '.'))
            return o;
    }
    return NULL;
}

/* ---- does it fit? ---- */

/* The operations that every plugin of a kind has from ABI 1.0 on; NULL ends them. */
#define OP(kind, op)                                  \
    {                                                 \
        offsetof(struct outbox_##kind##_ops, op), #op \
    }
static const struct operation {
    size_t offset;
    const char *name;
} required[][9] = {
    [OUTBOX_KIND_STORE] = {OP(store, open), OP(store, close), OP(store, check), OP(store, schema),
                           OP(store, init), OP(store, claim), OP(store, settle),
                           OP(store, release)},
    [OUTBOX_KIND_PUBLISHER] = {OP(publisher, open), OP(publisher, close), OP(publisher, check)},
    [OUTBOX_KIND_RULE] = {OP(rule, open), OP(rule, close), OP(rule, route)},
};

static int check_submit(const struct outbox_publisher_ops *ops, struct outbox_err *err)
{
    if (!ops->submit != !ops->collect)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "has only one of the operations `submit`, `collect`");
    if (!ops->publish && !ops->submit)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "lacks the operation `publish`, or `submit` and `collect`");
    return OUTBOX_OK;
}

static int copy_ops(struct plugin *ret, struct outbox_err *err)
{
    uint32_t kind = ret->desc.kind;
    size_t ours = kind == OUTBOX_KIND_STORE       ? sizeof ret->ops.store
                  : kind == OUTBOX_KIND_PUBLISHER ? sizeof ret->ops.publisher
                                                  : sizeof ret->ops.rule;
    uint32_t theirs;
    if (!ret->desc.ops)
        return outbox_fail(err, OUTBOX_E_CONFIG, "has no table of operations");
    memcpy(&theirs, ret->desc.ops, sizeof theirs); /* every table begins with its size */
    memcpy(&ret->ops, ret->desc.ops, theirs < ours ? theirs : ours);
    for (const struct operation *op = required[kind]; op->name; op++) {
        void *function;
        memcpy(&function, (const char *)&ret->ops + op->offset, sizeof function);
        if (op->offset + sizeof function > theirs)
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "has a table of operations whose `size` is %u: it ends before "
                               "`%s`, which every %s has; set .size = sizeof of the table",
                               theirs, op->name, descriptor_kind_name(kind));
        if (!function)
            return outbox_fail(err, OUTBOX_E_CONFIG, "lacks the operation `%s`, which every %s has",
                               op->name, descriptor_kind_name(kind));
    }
    return kind == OUTBOX_KIND_PUBLISHER ? check_submit(&ret->ops.publisher, err) : OUTBOX_OK;
}

/* ---- its options ---- */

#define OPTION_SIZE (offsetof(struct outbox_option, flags) + sizeof(uint32_t)) /* in ABI 1.0 */
#define KNOWN_FLAGS                                                             \
    (OUTBOX_OPT_REQUIRED | OUTBOX_OPT_SECRET | OUTBOX_OPT_BELOW_BATCH_TIMEOUT | \
     OUTBOX_OPT_MAY_BE_SECRET)
#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789_"

/* Before anything is read by them. */
static int check_numbers(const struct outbox_plugin *d, struct outbox_err *err)
{
    if (d->n_options == 0)
        return OUTBOX_OK;
    if (d->n_options > OUTBOX_OPTIONS_MAX)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "its descriptor says n_options = %" PRIu64
                           ", and a plugin has at most %u; it is broken",
                           d->n_options, OUTBOX_OPTIONS_MAX);
    if (d->option_stride < OPTION_SIZE || d->option_stride > OUTBOX_STRIDE_MAX ||
        d->option_stride % _Alignof(struct outbox_option) != 0)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "its descriptor says option_stride = %u, which is not the size of an "
                           "option (%zu to %u bytes, a multiple of %zu); it is broken",
                           d->option_stride, OPTION_SIZE, OUTBOX_STRIDE_MAX,
                           _Alignof(struct outbox_option));
    if (!d->options)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "its descriptor says n_options = %" PRIu64
                           ", but options = NULL; it is broken",
                           d->n_options);
    return OUTBOX_OK;
}

/* What is wrong with a name; NULL: nothing. */
static const char *name_fault(const char *name)
{
    size_t n = strnlen(name, 64);
    return n == 0                               ? "is empty"
           : n == 64                            ? "is longer than 63 bytes"
           : name[0] < 'a' || name[0] > 'z'     ? "does not begin with a letter from a to z"
           : strspn(name, NAME_CHARACTERS) != n ? "has a character other than a-z, 0-9 and _"
                                                : NULL;
}

static int check_names(const struct plugin *plugin, struct outbox_err *err)
{
    for (size_t i = 0; i < plugin->desc.n_options; i++) {
        const char *name = descriptor_option(plugin, i)->name;
        const char *fault = name ? name_fault(name) : NULL;
        if (!name)
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "declares an option (number %zu of %zu) without a name (NULL)",
                               i + 1, (size_t)plugin->desc.n_options);
        if (fault)
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "declares the option `%.64s` (number %zu), whose name %s", name,
                               i + 1, fault);
    }
    return OUTBOX_OK;
}

/* Whose the name is already; NULL: nobody's. */
static const char *reserved_by(const struct plugin *plugin, const struct outbox_option *option)
{
    static const char *const of_routes[] = {"topic", "key", "header", "to", "publisher"};
    const char *name = option->name;
    if (delivery_owns_key(name) ||
        (option->type == OUTBOX_OPT_PREFIX && strcmp(name, "relay") == 0))
        return "the core";
    for (size_t i = 0; i < sizeof of_routes / sizeof of_routes[0]; i++)
        if (plugin->desc.kind == OUTBOX_KIND_RULE && strcmp(name, of_routes[i]) == 0)
            return "the core, for a [route]";
    /* NAME_file is how the secret NAME may also be given. */
    for (size_t i = 0; i < plugin->desc.n_options; i++) {
        const struct outbox_option *secret = descriptor_option(plugin, i);
        size_t n = strlen(secret->name);
        if ((secret->flags & (OUTBOX_OPT_SECRET | OUTBOX_OPT_MAY_BE_SECRET)) &&
            secret->type == OUTBOX_OPT_TEXT && strncmp(name, secret->name, n) == 0 &&
            strcmp(name + n, "_file") == 0)
            return secret->name;
    }
    return NULL;
}

static const char *choices_fault(const char *const *choices)
{
    size_t n = 0;
    while (choices && n <= OUTBOX_CHOICES_MAX && choices[n])
        n++;
    return n == 0                   ? "has no choices"
           : n > OUTBOX_CHOICES_MAX ? "has too many choices; NULL ends them"
                                    : NULL;
}

/* What does not fit together in a declaration; NULL: it all does. */
static const char *option_fault(const struct outbox_option *o)
{
    bool may_be_secret = (o->flags & OUTBOX_OPT_MAY_BE_SECRET) != 0;
    if ((o->flags & OUTBOX_OPT_SECRET) && o->type != OUTBOX_OPT_TEXT)
        return "is secret, but not text";
    if (may_be_secret && o->type != OUTBOX_OPT_TEXT && o->type != OUTBOX_OPT_LIST &&
        o->type != OUTBOX_OPT_PREFIX)
        return "may be secret, but is neither text nor a list nor a prefix";
    if ((o->flags & OUTBOX_OPT_SECRET || (may_be_secret && o->type == OUTBOX_OPT_TEXT)) &&
        strlen(o->name) > 5 && strcmp(o->name + strlen(o->name) - 5, "_file") == 0)
        return "is a secret, yet ends in _file: the host reads NAME_file for a secret NAME itself";
    if ((o->flags & OUTBOX_OPT_BELOW_BATCH_TIMEOUT) && o->type != OUTBOX_OPT_DURATION)
        return "is to be below batch_timeout, but is not a duration";
    if ((o->flags & OUTBOX_OPT_REQUIRED) && o->deflt)
        return "is required, yet has a default";
    if (o->type == OUTBOX_OPT_PREFIX && o->deflt)
        return "is a prefix, yet has a default";
    if (o->type == OUTBOX_OPT_CHOICE && choices_fault(o->choices))
        return choices_fault(o->choices);
    return o->min > o->max ? "has a minimum above its maximum"
           : !o->help      ? "has no help text"
                           : NULL;
}

static int check_option(const struct plugin *plugin, size_t index, struct outbox_err *err)
{
    const struct outbox_option *o = descriptor_option(plugin, index);
    uint32_t unknown = o->flags & OUTBOX_CRITICAL_FLAGS & ~KNOWN_FLAGS;
    if (o->type < OUTBOX_OPT_TEXT || o->type > OUTBOX_OPT_PREFIX)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "declares the option `%s` of a type (%u) that this outboxd does not "
                           "know",
                           o->name, o->type);
    if (unknown)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "declares the option `%s` with flags (0x%x) that this outboxd does not "
                           "know and may not ignore",
                           o->name, unknown);
    const char *fault = option_fault(o);
    if (fault)
        return outbox_fail(err, OUTBOX_E_CONFIG, "declares the option `%s`, which %s", o->name,
                           fault);
    const char *owner = reserved_by(plugin, o);
    if (owner)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "declares the option `%s`, a name that is reserved (%s)", o->name,
                           owner);
    for (size_t i = 0; i < index; i++)
        if (strcasecmp(descriptor_option(plugin, i)->name, o->name) == 0)
            return outbox_fail(err, OUTBOX_E_CONFIG, "declares the option `%s` twice", o->name);
    return OUTBOX_OK;
}

static int check_options(const struct plugin *plugin, struct outbox_err *err)
{
    int r = check_names(plugin, err);
    for (size_t i = 0; i < plugin->desc.n_options && r == 0; i++) {
        const struct outbox_option *o = descriptor_option(plugin, i);
        struct outbox_err why = {.size = sizeof why};
        r = check_option(plugin, i, err);
        if (r == 0 && (r = option_value_check_default(o, &why)) < 0)
            outbox_fail(err, r, "declares the option `%s` with a bad default: %s", o->name,
                        why.text);
    }
    return r;
}

/* ---- all of it ---- */

int descriptor_negotiate(const struct outbox_plugin *desc, uint32_t kind, const char *name,
                         struct plugin *ret, struct outbox_err *err)
{
    if (!desc)
        return outbox_fail(err, OUTBOX_E_CONFIG, "its entry function returned NULL");
    if (desc->size < offsetof(struct outbox_plugin, extension))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "its descriptor says size = %u, less than the %zu bytes of ABI %d.0; "
                           "it is broken",
                           desc->size, offsetof(struct outbox_plugin, extension), OUTBOX_ABI_MAJOR);
    memset(ret, 0, sizeof *ret);
    memcpy(&ret->desc, desc, desc->size < sizeof ret->desc ? desc->size : sizeof ret->desc);
    if (ret->desc.needs_minor > OUTBOX_ABI_MINOR)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "needs plugin ABI %d.%u, and this outboxd has %d.%d: upgrade outboxd",
                           OUTBOX_ABI_MAJOR, ret->desc.needs_minor, OUTBOX_ABI_MAJOR,
                           OUTBOX_ABI_MINOR);
    if (ret->desc.kind < OUTBOX_KIND_STORE || ret->desc.kind > OUTBOX_KIND_RULE)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "is of a kind (%u) that this outboxd does not know", ret->desc.kind);
    if (kind && ret->desc.kind != kind)
        return outbox_fail(err, OUTBOX_E_CONFIG, "is a %s, not a %s",
                           descriptor_kind_name(ret->desc.kind), descriptor_kind_name(kind));
    if (!ret->desc.name || !name_is_valid(ret->desc.name))
        return outbox_fail(err, OUTBOX_E_CONFIG, "has no proper name; " NAME_RULE);
    if (name && strcmp(ret->desc.name, name) != 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "calls itself `%s`, not `%s` as its file does",
                           ret->desc.name, name);
    if (!ret->desc.version || !ret->desc.summary)
        return outbox_fail(err, OUTBOX_E_CONFIG, "has no version or no summary");
    if (!ret->desc.shared_open != !ret->desc.shared_close)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "has only one of `shared_open` and `shared_close`");
    int r = check_numbers(&ret->desc, err);
    if (r == 0)
        r = copy_ops(ret, err);
    return r < 0 ? r : check_options(ret, err);
}
