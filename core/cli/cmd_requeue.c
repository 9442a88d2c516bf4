/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_requeue.c - outboxd requeue: makes dead letters pending again. */
#include "cli/command.h"
#include "cli/dead_letter_command.h"

int cmd_requeue(int argc, char **argv)
{
    static const struct dead_letter_command command = {
        .bulk = {"requeue", "requeued", store_requeue},
        .doc = "Makes failed messages pending again, with no attempt charged; their last error is "
               "kept until the next.",
    };
    return dead_letter_command_run(&command, argc, argv);
}
