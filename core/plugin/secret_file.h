/* SPDX-License-Identifier: Apache-2.0 */
/* secret_file.h - options that hold a secret, taken from a file that only their owner may read. */
#ifndef CORE_PLUGIN_SECRET_FILE_H
#define CORE_PLUGIN_SECRET_FILE_H

#include "plugin/options.h"

/* The secret option X for a key X_file, or NULL. */
const struct outbox_option *secret_file_option(const struct plugin *plugin, const char *key);

/*
 * Sets the option to what the file at `path` holds, without a newline at its end and with nothing
 * expanded. OUTBOX_E_CONFIG: it cannot be read, or others can.
 */
int secret_file_set(struct outbox_cfg *cfg, const char *name, const char *path,
                    struct outbox_err *err);

#endif
