/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/descriptor.h"

#include "base/name.h"
#include "plugin/delivery.h"
#include "plugin/options.h"

#include <outbox/helpers.h>

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
        if (strlen(o->name) == n && strncmp(o->name, name, n) == 0)
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
        if (!function)
            return outbox_fail(err, OUTBOX_E_CONFIG, "lacks the operation `%s`, which every %s has",
                               op->name, descriptor_kind_name(kind));
    }
    if (kind == OUTBOX_KIND_PUBLISHER && !ret->ops.publisher.submit != !ret->ops.publisher.collect)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "has only one of the operations `submit`, `collect`");
    if (kind == OUTBOX_KIND_PUBLISHER && !ret->ops.publisher.publish && !ret->ops.publisher.submit)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "lacks the operation `publish`, or `submit` and `collect`");
    return OUTBOX_OK;
}

static bool option_name_is_valid(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n < 64 && name[0] >= 'a' && name[0] <= 'z' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

static const char *reserved_by(const struct plugin *plugin, const char *name)
{
    if (delivery_owns_key(name))
        return "the core";
    /* NAME_file is how the secret NAME may also be given. */
    for (size_t i = 0; i < plugin->desc.n_options; i++) {
        const struct outbox_option *secret = descriptor_option(plugin, i);
        size_t n = strlen(secret->name);
        if ((secret->flags & (OUTBOX_OPT_SECRET | OUTBOX_OPT_MAY_BE_SECRET)) &&
            strncmp(name, secret->name, n) == 0 && strcmp(name + n, "_file") == 0)
            return secret->name;
    }
    return NULL;
}

static int check_option(const struct plugin *plugin, size_t index, struct outbox_err *err)
{
    const struct outbox_option *o = descriptor_option(plugin, index);
    const char *why = NULL;
    if (o->type < OUTBOX_OPT_TEXT || o->type > OUTBOX_OPT_LIST)
        why = "has a type that this host does not know";
    else if ((o->flags & (OUTBOX_OPT_SECRET | OUTBOX_OPT_MAY_BE_SECRET)) &&
             o->type != OUTBOX_OPT_TEXT)
        why = "is secret, but not text";
    else if ((o->flags & OUTBOX_OPT_BELOW_BATCH_TIMEOUT) && o->type != OUTBOX_OPT_DURATION)
        why = "is to be below batch_timeout, but is not a duration";
    else if (o->type == OUTBOX_OPT_CHOICE && (!o->choices || !o->choices[0]))
        why = "has no choices";
    else if (o->min > o->max)
        why = "has a minimum above its maximum";
    else if (!o->help)
        why = "has no help text";
    if (why)
        return outbox_fail(err, OUTBOX_E_CONFIG, "declares the option `%s`, which %s", o->name,
                           why);
    const char *owner = reserved_by(plugin, o->name);
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
    const struct outbox_plugin *d = &plugin->desc;
    int r = OUTBOX_OK;
    if (d->n_options == 0)
        return OUTBOX_OK;
    if (!d->options || d->option_stride < offsetof(struct outbox_option, flags) + sizeof(uint32_t))
        return outbox_fail(err, OUTBOX_E_CONFIG, "declares options without a table of them");
    for (size_t i = 0; i < d->n_options; i++) {
        const char *name = descriptor_option(plugin, i)->name;
        if (!name || !option_name_is_valid(name))
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "declares an option with a bad name; they match [a-z][a-z0-9_]*");
    }
    for (size_t i = 0; i < d->n_options && r == 0; i++) {
        const struct outbox_option *o = descriptor_option(plugin, i);
        struct outbox_err why = {.size = sizeof why};
        r = check_option(plugin, i, err);
        if (r == 0 && (r = options_check_default(o, &why)) < 0)
            outbox_fail(err, r, "declares the option `%s` with a bad default: %s", o->name,
                        why.text);
    }
    return r;
}

int descriptor_negotiate(const struct outbox_plugin *desc, uint32_t kind, const char *name,
                         struct plugin *ret, struct outbox_err *err)
{
    if (!desc)
        return outbox_fail(err, OUTBOX_E_CONFIG, "its entry function returned NULL");
    if (desc->size < offsetof(struct outbox_plugin, extension))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "its descriptor has %u bytes, less than ABI %d.0 knows; it is broken",
                           desc->size, OUTBOX_ABI_MAJOR);
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
    int r = copy_ops(ret, err);
    return r < 0 ? r : check_options(ret, err);
}
