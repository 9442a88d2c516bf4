/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - the values of one plugin's section: struct outbox_cfg behind the ABI. */
#ifndef CORE_PLUGIN_OPTIONS_H
#define CORE_PLUGIN_OPTIONS_H

#include "plugin/descriptor.h"

#include <stdbool.h>

/* Every declared option at its default; NULL without memory. The plugin must outlive it. */
struct outbox_cfg *options_new(const struct plugin *plugin);
void options_free(struct outbox_cfg *cfg);

/*
 * Sets one option from its text: without comment and outer quotes, ${NAME} still in it. The
 * error's text says what is wrong with the value and what fits, without file and line, and shows
 * no part of a secret. Unknown name: OUTBOX_E_NOTSUP.
 */
int options_set(struct outbox_cfg *cfg, const char *name, const char *value,
                struct outbox_err *err);

/* Sets a declared TEXT option as it is, nothing expanded. 0 or OUTBOX_E_RETRY. */
int options_set_secret(struct outbox_cfg *cfg, const char *name, const char *value, size_t n);

/* Did the file set it? */
bool options_given(const struct outbox_cfg *cfg, const char *name);

/* The first required option that is not set, or NULL. */
const char *options_missing(const struct outbox_cfg *cfg);

/* An option that declares that it must be shorter than batch_timeout, or a publisher could use up
 * the time in which its batch is to be settled: OUTBOX_E_CONFIG when it is not. */
int options_check_timeout(const struct outbox_cfg *cfg, const struct outbox_option *option,
                          int64_t batch_timeout_ms, struct outbox_err *err);

/* Of all values but secrets, on top of `hash` (hash.h). */
uint64_t options_hash(const struct outbox_cfg *cfg, uint64_t hash);

/* What outbox_host hands to plugins. */
struct outbox_str options_text(const struct outbox_cfg *cfg, const char *name);
int64_t options_int(const struct outbox_cfg *cfg, const char *name);
uint64_t options_count(const struct outbox_cfg *cfg, const char *name);
struct outbox_str options_item(const struct outbox_cfg *cfg, const char *name, uint64_t index);

#endif
