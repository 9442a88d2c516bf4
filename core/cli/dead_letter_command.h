/* SPDX-License-Identifier: Apache-2.0 */
/* dead_letter_command.h - a command on failed messages, by ID or all of them: requeue, discard. */
#pragma once

#include "cli/command.h"
#include "cli/progress.h"

/* Its arguments. */
struct dead_letter_command {
    struct syntax_args common;
    const struct bulk *bulk; /* what the command does */
    bool all;
    const char *topic;
    bool dry_run;
};

extern const struct syntax_option dead_letter_command_options[];
void dead_letter_command_check(struct argp_state *state, void *args);
int dead_letter_command_run(struct store *store, void *args);
