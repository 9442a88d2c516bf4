/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_requeue.c - outboxd requeue: makes dead letters pending again. */
#include "cli/dead_letter_command.h"

static int requeue(struct store *store, void *args)
{
    static const struct bulk bulk = {"requeue", "requeued", store_requeue};
    return dead_letter_command_run(&bulk, store, args);
}

const struct command cmd_requeue = {
    .name = "requeue",
    .summary = "make failed messages pending again",
    DEAD_LETTER_COMMAND_SYNTAX,
    .syntax.doc =
        "Makes failed messages pending again, with no attempt charged; their last error is kept "
        "until the next.",
    .args_size = sizeof(struct dead_letter_command),
    .run_store = requeue,
};
