/* SPDX-License-Identifier: Apache-2.0 */
/* dead_letter_command.c - what requeue and discard share. */
#include "cli/dead_letter_command.h"
#include "cli/output.h"

#include <outbox/helpers.h>

#include <stdio.h>

/* The rows of one ID: a message and its copies. */
#define MAX_ROWS 500

const struct syntax_option dead_letter_command_options[] = {
    {"all", 'A', SYNTAX_FLAG, offsetof(struct dead_letter_command, all), NULL,
     "All failed messages, instead of IDs"},
    {"topic", 't', SYNTAX_TEXT, offsetof(struct dead_letter_command, topic), "PATTERN",
     "With --all: only topics that match"},
    {"publisher", 'p', SYNTAX_TEXT, offsetof(struct dead_letter_command, common.publisher), "NAME",
     "With --all: only what failed at this publisher's lane"},
    {"dry-run", 'n', SYNTAX_FLAG, offsetof(struct dead_letter_command, dry_run), NULL,
     "Tell what would be done, and change nothing"},
    {0},
};

void dead_letter_command_check(struct argp_state *state, void *data)
{
    const struct dead_letter_command *args = data;
    if (args->all == (args->common.n_operands > 0))
        argp_error(state, "either IDs or --all");
    if (!args->all && (args->topic || args->common.publisher))
        argp_error(state, "--topic and --publisher go with --all");
}

/* No row was changed: because there is none, or because it is not failed? */
static int explain(struct store *store, const struct outbox_filter *filter, const char *id)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_page *page;
    int64_t after = COMMAND_FROM_FIRST;
    if (command_next_page(store, filter, &after, 1, &page, &err) < 0)
        return report_failure("%s", err.text);
    if (page->n == 0)
        return message_id_unknown(id);
    return report_failure("%s is %s, not failed", id, output_status(page->rows[0]->status));
}

static int run_one(struct store *store, const struct dead_letter_command *args, const char *id)
{
    struct outbox_err err = {.size = sizeof err};
    struct message_id_forms forms;
    struct outbox_call call = store_call(COMMAND_CALL_MS, -1);
    struct outbox_page *page;
    int64_t after = COMMAND_FROM_FIRST;
    uint64_t n = 0;
    int r;
    message_id_forms(id, &forms);
    struct outbox_filter filter = {
        .size = sizeof filter, .statuses = OUTBOX_FAILED, .ids = forms.ids, .n_ids = forms.n};
    if (args->dry_run) {
        r = command_next_page(store, &filter, &after, 1, &page, &err);
        n = r < 0 ? 0 : page->n;
    } else {
        r = args->bulk->change(store, &filter, &after, MAX_ROWS, &call, &n, &err);
    }
    if (r < 0)
        return report_failure("%s", err.text);
    filter.statuses = 0;
    if (n == 0)
        return explain(store, &filter, id);
    printf("%s%s ", args->dry_run ? "would be " : "", args->bulk->done);
    output_text(outbox_cstr(id), 255);
    putchar('\n');
    return EXIT_DONE;
}

int dead_letter_command_run(struct store *store, void *data)
{
    const struct dead_letter_command *args = data;
    char *const *ids = args->common.operands;
    int code = EXIT_DONE;
    const struct outbox_filter filter = {.size = sizeof filter,
                                         .statuses = OUTBOX_FAILED,
                                         .topic = outbox_cstr(args->topic),
                                         .lane = outbox_cstr(args->common.publisher)};
    if (args->all)
        return bulk_run(args->bulk, store, &filter, args->dry_run);
    /* Nothing is changed when one of the IDs cannot be right. */
    for (int i = 0; i < args->common.n_operands; i++)
        if (message_id_check(ids[i]) != EXIT_DONE)
            return EXIT_USAGE;
    for (int i = 0; i < args->common.n_operands; i++) {
        int one = run_one(store, args, ids[i]);
        code = one > code ? one : code;
    }
    return code;
}
