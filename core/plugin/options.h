/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - the values of one section: struct outbox_cfg behind the ABI. The core reads its own
 * sections by the same code, from tables of options like those that plugins declare. */
#pragma once

#include "base/suggest.h"
#include "plugin/descriptor.h"
#include "plugin/option_value.h"

#include <stdbool.h>

/* Every declared option at its default; NULL without memory. The plugin must outlive it. */
struct outbox_cfg *options_new(const struct plugin *plugin);
void options_free(struct outbox_cfg *cfg); /* the last of those who share it; NULL is allowed */
/* The same options for one more owner, who frees them, too. Any thread. */
struct outbox_cfg *options_share(struct outbox_cfg *cfg);

/*
 * Sets one option from its text: without comment and outer quotes, ${NAME} still in it. The
 * error's text says what is wrong with the value and what fits, without file and line, and shows
 * no part of a secret. A group has names NAME.KEY. Unknown name: OUTBOX_E_NOTSUP.
 */
int options_set(struct outbox_cfg *cfg, const char *name, const char *value,
                struct outbox_err *err);
/* Sets a declared number; the error names the option. */
int options_set_int(struct outbox_cfg *cfg, const char *name, int64_t n, struct outbox_err *err);

/* The secret option X for a key X_file, or NULL. */
const struct outbox_option *options_of_file(const struct plugin *plugin, const char *key);
/*
 * Sets a secret option to what the file at `path` holds, without a newline at its end and with
 * nothing expanded (secret_file.h).
 */
int options_set_from_file(struct outbox_cfg *cfg, const char *name, const char *path,
                          struct outbox_err *err);

/* Did the file set it? */
bool options_given(const struct outbox_cfg *cfg, const char *name);

/* ---- where they stand in the file ---- */

/* That the values are from a file (copied), and the line of their section. */
void options_read_from(struct outbox_cfg *cfg, const char *file, int line);
/* That of an option that is set now, or of one setting of a group. */
void options_set_line(struct outbox_cfg *cfg, const char *name, int line);
/* The line of an option (NAME, or NAME.KEY of a group); of the section, if the file does not set
 * it or nobody knows it. */
int options_line(const struct outbox_cfg *cfg, const char *name);
/* "FILE:LINE: " of an option; "" if the values are from no file, or cfg is NULL. */
#define OPTIONS_PLACE_SIZE 256
const char *options_place(const struct outbox_cfg *cfg, const char *name,
                          char buffer[OPTIONS_PLACE_SIZE]);

/* ---- checks of several values ---- */

/* The first required option that is not set, or NULL. */
const char *options_missing(const struct outbox_cfg *cfg);

/* An option that declares that it must be shorter than batch_timeout, or a publisher could use up
 * the time in which its batch is to be settled: OUTBOX_E_CONFIG when it is not. */
int options_check_timeout(const struct outbox_cfg *cfg, const struct outbox_option *option,
                          int64_t batch_timeout_ms, struct outbox_err *err);

/* Offers the names of all options. */
void options_suggest(const struct plugin *plugin, struct suggest *similar);

/* Of all values but secrets, on top of `hash` (hash.h). */
uint64_t options_hash(const struct outbox_cfg *cfg, uint64_t hash);

/* The path of X_file, if a declared option was set so; else NULL. */
const char *options_file(const struct outbox_cfg *cfg, const char *name);

/*
 * Calls `changed` for each option of the plugin whose value differs, with both as the file has
 * them; NULL: not set, a list, or a secret. What a file holds (X_file) is the same as long as the
 * path is. A plugin can tell a value of the file from the same default: that differs, too. Returns
 * how many.
 */
typedef void (*options_change_fn)(void *ctx, const char *name, const char *before,
                                  const char *after);
size_t options_compare(const struct plugin *plugin, const struct outbox_cfg *before,
                       const struct outbox_cfg *after, options_change_fn changed, void *ctx);

/* The index of a CHOICE that is set or has a default. */
int options_choice(const struct outbox_cfg *cfg, const char *name);

/* What outbox_host hands to plugins; their comments are in <outbox/abi.h>. */
struct outbox_str options_text(const struct outbox_cfg *cfg, const char *name);
int64_t options_int(const struct outbox_cfg *cfg, const char *name);
int32_t options_is_set(const struct outbox_cfg *cfg, const char *name);
struct outbox_str options_key(const struct outbox_cfg *cfg, const char *name, uint64_t index);
uint64_t options_count(const struct outbox_cfg *cfg, const char *name);
struct outbox_str options_item(const struct outbox_cfg *cfg, const char *name, uint64_t index);
int options_read(const struct outbox_cfg *cfg, const char *name, char *buf, uint64_t cap,
                 uint64_t *ret_n, struct outbox_err *err);
