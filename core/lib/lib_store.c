/* SPDX-License-Identifier: Apache-2.0 */
/* lib_store.c - liboutbox: stores to write to. */
#include "lib/liboutbox.h"

#include <outbox/helpers.h>

#include <stdlib.h>

OUTBOX_EXPORT const char *outbox_version(void)
{
    return PACKAGE_VERSION;
}

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
    int r = cfg ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
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

OUTBOX_EXPORT int outbox_store_open(const char *plugin_dir, const char *name,
                                    const struct outbox_setting *settings,
                                    struct outbox_store **ret, struct outbox_err *err)
{
    const struct plugin *plugin;
    struct outbox_err why = {.size = sizeof why};
    struct outbox_store *s = calloc(1, sizeof *s);
    int r = s && (s->plugins = plugin_set_new(plugin_dir))
                ? plugin_get(s->plugins, OUTBOX_KIND_STORE, name, &plugin, &why)
                : outbox_fail(&why, OUTBOX_E_RETRY, "out of memory");
    if (r == 0)
        r = lib_options(plugin, settings, &s->options, &why);
    if (r == 0)
        r = store_open(&s->store, plugin, s->options, NULL, &why);
    if (r < 0) {
        outbox_store_close(s);
        return outbox_fail(err, r, "%s", why.text);
    }
    *ret = s;
    return OUTBOX_OK;
}

OUTBOX_EXPORT void outbox_store_close(struct outbox_store *s)
{
    if (!s)
        return;
    store_close(&s->store);
    options_free(s->options);
    plugin_set_free(s->plugins);
    free(s);
}

OUTBOX_EXPORT int outbox_store_init(struct outbox_store *s, uint32_t timeout_ms,
                                    struct outbox_err *err)
{
    struct outbox_str done;
    struct outbox_call call = store_call(timeout_ms, -1);
    return store_init(&s->store, &call, &done, err);
}

OUTBOX_EXPORT int outbox_save(struct outbox_store *s, const struct outbox_new *const *messages,
                              uint64_t n, const struct outbox_exec *exec, uint32_t timeout_ms,
                              struct outbox_err *err)
{
    struct outbox_call call = store_call(timeout_ms, -1);
    return store_save(&s->store, messages, n, exec, &call, err);
}
