/* SPDX-License-Identifier: Apache-2.0 */
/* section.h - one section of the file, while it is read into the model. */
#ifndef CORE_CONFIG_SECTION_H
#define CORE_CONFIG_SECTION_H

#include "base/suggest.h"
#include "config/config.h"
#include "config/diagnostics.h"
#include "config/ini.h"

#include <sys/types.h>

struct section {
    const struct ini_section *ini;
    mode_t file_mode;         /* permissions of the file */
    struct config *config;    /* where its values go */
    struct diagnostics *diag; /* where its mistakes go */
};

/* Every reader of a kind of sections; `name` is what follows the kind: [publisher NAME]. */
typedef void (*section_read_fn)(const struct section *s, const char *name);

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

/* Is the name of a section, which is also "a publisher", well-formed? */
bool section_check_name(const struct section *s, const char *name, const char *of);

/* The mistake of a key that nobody knows; `similar` was offered those that there are. */
void section_unknown_key(const struct section *s, const struct ini_entry *entry,
                         const struct suggest *similar);

#endif
