/* SPDX-License-Identifier: Apache-2.0 */
/* plugin_section.h - reads sections that name a plugin: [store], [publisher NAME], and the rule of
 * a [route NAME]. */
#ifndef CORE_CONFIG_PLUGIN_SECTION_H
#define CORE_CONFIG_PLUGIN_SECTION_H

#include "config/section.h"

void plugin_section_store(const struct section *s, const char *name);
void plugin_section_publisher(const struct section *s, const char *name);

/*
 * Loads the plugin that the section names, and sets its options. `owns` says which keys are not
 * the plugin's. On mistakes *ret and *ret_options may stay NULL.
 */
void plugin_section_read(const struct section *s, uint32_t kind, bool (*owns)(const char *key),
                         const struct plugin **ret, struct outbox_cfg **ret_options);

#endif
