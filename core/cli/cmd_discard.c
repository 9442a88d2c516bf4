/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_discard.c - outboxd discard: deletes dead letters. */
#include "cli/dead_letter_command.h"

static int discard(struct store *store, void *args)
{
    static const struct bulk bulk = {"discard", "discarded", store_discard};
    return dead_letter_command_run(&bulk, store, args);
}

const struct command cmd_discard = {
    .name = "discard",
    .summary = "delete failed messages",
    DEAD_LETTER_COMMAND_SYNTAX,
    .syntax.doc = "Deletes failed messages, for good.",
    .args_size = sizeof(struct dead_letter_command),
    .run_store = discard,
};
