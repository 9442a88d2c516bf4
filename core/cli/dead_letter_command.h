/* SPDX-License-Identifier: Apache-2.0 */
/* dead_letter_command.h - what requeue and discard share: failed messages by ID, or all of them. */
#ifndef CORE_CLI_DEAD_LETTER_COMMAND_H
#define CORE_CLI_DEAD_LETTER_COMMAND_H

#include "cli/bulk.h"

struct dead_letter_command {
    struct bulk bulk;
    const char *doc; /* for --help */
};

int dead_letter_command_run(const struct dead_letter_command *command, int argc, char **argv);

#endif
