/* SPDX-License-Identifier: Apache-2.0 */
/* load.h - the configuration file, read and checked as a whole. */
#pragma once

#include "config/config.h"
#include "config/diagnostics.h"

#define LOAD_DEFAULT_FILE SYSCONFDIR "/outboxd/outboxd.ini"

/*
 * Reads, checks, loads the plugins named, and validates their options. All mistakes are
 * reported, not only the first. Returns OUTBOX_OK and *ret, OUTBOX_E_CONFIG, or OUTBOX_E_RETRY
 * when there was not the memory to know. Nothing connects.
 */
int load_config(const char *file, diag_report_fn report, void *ctx, struct config **ret);

/* The same for a file that was read before in this process: plugins that it has loaded stay as they
 * are. */
int load_config_again(const char *file, const struct config *before, diag_report_fn report,
                      void *ctx, struct config **ret);

/*
 * Only [store], the folder of its plugin, and the names of publishers, whatever else is missing or
 * wrong: neither the plugins nor the secrets of publishers need to be there.
 */
int load_store(const char *file, diag_report_fn report, void *ctx, struct config **ret);

/* Only [relay] plugin_dir, whatever else is wrong with the file. *ret for free(), NULL: not set. */
int load_plugin_dir(const char *file, diag_report_fn report, void *ctx, char **ret);
