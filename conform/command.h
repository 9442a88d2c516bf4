/* SPDX-License-Identifier: Apache-2.0 */
/* command.h - the author's commands in the INI, run by /bin/sh in the folder of outbox-conform. */
#pragma once

#include <outbox/abi.h>

#include <stddef.h>

/* Remembers the folder, whatever a plugin does to it later. */
void command_begin(void);

/*
 * Runs it to its end, at most `seconds`, with `input` (NULL: none) on its stdin. *ret, for free():
 * what it wrote to stdout, with a NUL behind it; may be NULL. OUTBOX_E_CONFIG: it cannot be run,
 * did not end, or ended with another code than 0; the text has what it wrote to stderr.
 */
int command_run(const char *command, const char *input, int seconds, char **ret,
                struct outbox_err *err);
