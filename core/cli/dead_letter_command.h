/* SPDX-License-Identifier: Apache-2.0 */
/* dead_letter_command.h - what requeue and discard share: failed messages by ID, or all of them. */
#ifndef CORE_CLI_DEAD_LETTER_COMMAND_H
#define CORE_CLI_DEAD_LETTER_COMMAND_H

#include "cli/bulk.h"
#include "cli/command.h"

#include <limits.h>

/* The arguments of both. */
struct dead_letter_command {
    struct syntax_args common;
    bool all;
    const char *topic;
    bool dry_run;
};

#define DEAD_LETTER_COMMAND_SYNTAX                                                    \
    .syntax.options = dead_letter_command_options, .syntax.operands = "ID...\n--all", \
    .syntax.max_operands = INT_MAX, .syntax.check = dead_letter_command_check
extern const struct syntax_option dead_letter_command_options[];
void dead_letter_command_check(struct argp_state *state, void *args);

int dead_letter_command_run(const struct bulk *bulk, struct store *store,
                            const struct dead_letter_command *args);

#endif
