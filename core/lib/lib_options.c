/* SPDX-License-Identifier: Apache-2.0 */
/* lib_options.c - liboutbox: structs of options, and settings of plugins. */
#include "lib/liboutbox.h"

#include <outbox/helpers.h>

int lib_out_of_memory(struct outbox_err *err)
{
    return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
}

/* ---- structs ---- */

static int check_size(const char *what, uint32_t size, size_t least, struct outbox_err *err)
{
    if (size >= least)
        return OUTBOX_OK;
    return outbox_fail(err, OUTBOX_E_CONFIG,
                       size == 0 ? "struct %s has no size: set .size = sizeof it"
                                 : "struct %s has a size of %u, less than any version of it has",
                       what, size);
}

/* An older library must not ignore what somebody asks of a newer one. */
int lib_take(const char *what, const void *given, size_t least, size_t ours, void *ret,
             struct outbox_err *err)
{
    const char *bytes = given;
    uint32_t size, known = (uint32_t)ours;
    memcpy(&size, given, sizeof size);
    int r = check_size(what, size, least, err);
    if (r < 0)
        return r;
    for (size_t i = ours; i < size; i++)
        if (bytes[i] != 0)
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "struct %s sets what version %s of liboutbox does not have; "
                               "install a newer one",
                               what, PACKAGE_VERSION);
    memset(ret, 0, ours);
    memcpy(ret, given, size < ours ? size : ours);
    memcpy(ret, &known, sizeof known);
    return OUTBOX_OK;
}

int lib_give(const char *what, const void *ours, size_t n, void *ret, struct outbox_err *err)
{
    uint32_t size;
    memcpy(&size, ret, sizeof size);
    int r = check_size(what, size, 2 * sizeof size, err);
    if (r < 0)
        return r;
    memcpy((char *)ret + sizeof size, (const char *)ours + sizeof size,
           (size < n ? size : n) - sizeof size);
    return OUTBOX_OK;
}

/* ---- settings of a plugin ---- */

static int set(struct outbox_cfg *cfg, const struct plugin *plugin,
               const struct outbox_setting *setting, struct outbox_err *err)
{
    const char *name = setting->name;
    const struct outbox_option *secret = options_of_file(plugin, name);
    if (secret && !descriptor_find_option(plugin, name, strlen(name)))
        return options_set_from_file(cfg, secret->name, setting->value, err);
    return options_set(cfg, name, setting->value, err);
}

int lib_options(const struct plugin *plugin, const struct outbox_setting *settings,
                struct outbox_cfg **ret, struct outbox_err *err)
{
    const char *kind = descriptor_kind_prefix(plugin->desc.kind), *name = plugin->desc.name;
    struct outbox_err why = {.size = sizeof why};
    struct outbox_cfg *cfg = options_new(plugin);
    int r = cfg ? OUTBOX_OK : lib_out_of_memory(err);
    for (; r == 0 && settings && settings->name; settings++)
        if ((r = set(cfg, plugin, settings, &why)) < 0)
            r = outbox_fail(err, r == OUTBOX_E_RETRY ? r : OUTBOX_E_CONFIG, "%s-%s: %s: %s", kind,
                            name, settings->name, why.text);
    const char *missing = r == 0 ? options_missing(cfg) : NULL;
    if (missing)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "%s-%s needs the option `%s`", kind, name, missing);
    if (r < 0)
        options_free(cfg);
    else
        *ret = cfg;
    return r;
}

int lib_check_timeouts(const struct plugin *plugin, const struct outbox_cfg *options,
                       int64_t batch_timeout_ms, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    for (size_t i = 0; r == 0 && i < plugin->desc.n_options; i++)
        r = options_check_timeout(options, descriptor_option(plugin, i), batch_timeout_ms, err);
    return r;
}
