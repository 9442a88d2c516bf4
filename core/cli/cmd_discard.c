/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_discard.c - outboxd discard: deletes dead letters. */
#include "cli/command.h"
#include "cli/dead_letter_command.h"

int cmd_discard(int argc, char **argv)
{
    static const struct dead_letter_command command = {
        .bulk = {"discard", "discarded", store_discard},
        .doc = "Deletes failed messages, for good.",
    };
    return dead_letter_command_run(&command, argc, argv);
}
