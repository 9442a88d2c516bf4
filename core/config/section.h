/* SPDX-License-Identifier: Apache-2.0 */
/* section.h - one section of the file, while it is read into the model: what all kinds share
 * (section.c), sections that name a plugin (plugin_section.c), and routes (route_section.c). */
#pragma once

#include "base/suggest.h"
#include "config/config.h"
#include "config/diagnostics.h"
#include "config/ini.h"

#include <sys/types.h>

struct section {
    const struct ini_section *ini;
    const char *name;         /* what follows the kind: [publisher NAME] */
    mode_t file_mode;         /* permissions of the file */
    struct config *config;    /* where its values go */
    struct diagnostics *diag; /* where its mistakes go */
};

/* NULL: it has no such key. */
const struct ini_entry *section_find(const struct section *s, const char *key);

/* The value without comment and quotes, ${NAME} still in it, for free(); NULL without memory. */
char *section_raw(const struct section *s, const struct ini_entry *entry);
/* The same with ${NAME} replaced; NULL after a mistake. */
char *section_text(const struct section *s, const struct ini_entry *entry);

/* If the plugin (or table of the core's) declares the key: sets the option, or reports the mistake.
 */
bool section_option(const struct section *s, const struct ini_entry *entry,
                    const struct plugin *plugin, struct outbox_cfg *options);

/* If the section has the key: it, or its value, is known and does nothing yet. */
void section_not_supported(const struct section *s, const char *key, const char *what);

/* Is the name of the section, which is also "a publisher", well-formed? */
bool section_check_name(const struct section *s, const char *of);

/* The mistake of a key that nobody knows; `similar` was offered those that there are. */
void section_unknown_key(const struct section *s, const struct ini_entry *entry,
                         struct suggest *similar);

/* Reads a section by a table of the core's into the model. */
void section_settings(const struct section *s, const struct settings *settings);

/* Reports a minimum above its maximum, on the line of one of the two. */
void section_check_delivery(const struct section *s, const struct delivery *delivery);

/* The readers of the kinds of sections. [relay] comes before the publishers, for which it has the
 * defaults, and the routes come after all publishers, which they name. */
void section_relay(const struct section *s);
void section_log(const struct section *s);
void plugin_section_store(const struct section *s);
void plugin_section_publisher(const struct section *s);
void route_section_route(const struct section *s);
void route_section_router(const struct section *s);

/* Keys that are not those of `struct settings` or delivery.h, as if a plugin had declared them: of
 * a route besides its subjects, and of each section that names a plugin. */
extern const struct plugin route_section_keys, plugin_section_keys;

/*
 * Loads the plugin that the section names, and sets its options. `owns` says which keys are not
 * the plugin's. On mistakes *ret and *ret_options may stay NULL.
 */
void plugin_section_read(const struct section *s, uint32_t kind, bool (*owns)(const char *key),
                         const struct plugin **ret, struct outbox_cfg **ret_options);

/* When all sections are read: do options that name a publisher name one that there is? */
void plugin_section_check_publishers(const struct config *config, struct diagnostics *diag);
