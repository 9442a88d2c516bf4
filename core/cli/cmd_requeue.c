/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_requeue.c - outboxd requeue: makes dead letters pending again. */
#include "cli/dead_letter_command.h"

#include <limits.h>

static const struct bulk requeue = {"requeue", "requeued", store_requeue, false};

const struct command cmd_requeue = {
    .name = "requeue",
    .summary = "make failed messages pending again",
    .syntax = {dead_letter_command_options, "ID...\n--all", INT_MAX, NULL,
               "Makes failed messages pending again, with no attempt charged; their last error is "
               "kept until the next.",
               dead_letter_command_check},
    .args_size = sizeof(struct dead_letter_command),
    .defaults = &(const struct dead_letter_command){.bulk = &requeue},
    .run_store = dead_letter_command_run,
};
