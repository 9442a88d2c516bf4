/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - the values of one plugin's section: struct outbox_cfg behind the ABI. */
#ifndef CORE_OPTIONS_H
#define CORE_OPTIONS_H

#include "plugin.h"

/* Every declared option at its default. The plugin must outlive it. */
struct outbox_cfg *options_new(const struct plugin *plugin);
void options_free(struct outbox_cfg *cfg);

/*
 * Sets one option from its text (already unquoted, environment substituted). The error's
 * text says what is wrong with the value and what fits, without file and line. Unknown name:
 * OUTBOX_E_NOTSUP. For ARGV the text is the raw value.
 */
int options_set(struct outbox_cfg *cfg, const char *name, const char *value,
                struct outbox_err *err);

/* The first required option that is not set, or NULL. */
const char *options_missing(const struct outbox_cfg *cfg);

/* What outbox_host hands to plugins. */
struct outbox_str options_text(const struct outbox_cfg *cfg, const char *name);
int64_t options_int(const struct outbox_cfg *cfg, const char *name);
uint64_t options_count(const struct outbox_cfg *cfg, const char *name);
struct outbox_str options_item(const struct outbox_cfg *cfg, const char *name, uint64_t index);

#endif
