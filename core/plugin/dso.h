/* SPDX-License-Identifier: Apache-2.0 */
/* dso.h - the only user of libltdl: binds at once, returns the text of dlopen, never unloads. */
#ifndef CORE_PLUGIN_DSO_H
#define CORE_PLUGIN_DSO_H

#include <outbox/abi.h>

typedef void (*dso_symbol_fn)(void);

/*
 * Opens the module at an absolute path and finds a function in it. NULL *ret with OUTBOX_OK:
 * the module has no such symbol. The module stays in memory. Any thread.
 */
int dso_symbol(const char *path, const char *symbol, dso_symbol_fn *ret, struct outbox_err *err);

#endif
