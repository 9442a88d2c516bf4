/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_show.c - outboxd show: one message with all its columns. */
#include "cli/command.h"
#include "cli/output.h"

#include <stdio.h>
#include <stdlib.h>

/* A message and its copies, one for each publisher at most. */
#define MAX_ROWS 200

struct args {
    struct syntax_args common;
    bool json;
};

static const struct syntax_option options[] = {
    {"json", 'j', SYNTAX_FLAG, offsetof(struct args, json), NULL, "As a JSON object"},
    {0},
};

static void check(struct argp_state *state, void *data)
{
    const struct args *args = data;
    if (args->common.n_operands == 0)
        argp_error(state, "the ID of a message is needed");
    else if (message_id_check(args->common.operands[0]) != EXIT_DONE)
        exit(EXIT_USAGE);
}

static int show(struct store *store, void *data)
{
    const struct args *args = data;
    const char *id = args->common.operands[0];
    struct outbox_err err = {.size = sizeof err};
    struct message_id_forms forms;
    struct outbox_page *page;
    int64_t after = COMMAND_FROM_FIRST;
    message_id_forms(id, &forms);
    struct outbox_filter filter = {.size = sizeof filter, .ids = forms.ids, .n_ids = forms.n};
    if (command_next_page(store, &filter, &after, MAX_ROWS, &page, &err) < 0)
        return report_failure("%s", err.text);
    if (page->n == 0)
        return message_id_unknown(id);
    for (uint32_t i = 0; i < page->n; i++) {
        if (args->json && output_json(output_row_json(page->rows[i])) != EXIT_DONE)
            return EXIT_FAILED;
        if (!args->json && i > 0)
            putchar('\n');
        if (!args->json)
            output_row_full(page->rows[i]);
    }
    return EXIT_DONE;
}

const struct command cmd_show = {
    .name = "show",
    .summary = "show one message",
    .syntax.options = options,
    .syntax.operands = "ID",
    .syntax.max_operands = 1,
    .syntax.surplus = "takes one ID",
    .syntax.doc = "Shows a message and, if it was copied for several publishers, its copies.",
    .syntax.check = check,
    .args_size = sizeof(struct args),
    .run_store = show,
};
