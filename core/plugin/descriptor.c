/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/descriptor.h"

#include <string.h>

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
