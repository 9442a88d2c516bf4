/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_discard.c - outboxd discard: deletes dead letters. */
#include "cli/dead_letter_command.h"

#include <limits.h>

static const struct bulk discard = {"discard", "discarded", store_discard, false};

const struct command cmd_discard = {
    .name = "discard",
    .summary = "delete failed messages",
    .syntax = {dead_letter_command_options, "ID...\n--all", INT_MAX, NULL,
               "Deletes failed messages, for good.", dead_letter_command_check},
    .args_size = sizeof(struct dead_letter_command),
    .defaults = &(const struct dead_letter_command){.bulk = &discard},
    .run_store = dead_letter_command_run,
};
