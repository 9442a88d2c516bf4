/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_requeue.c - outboxd requeue and outboxd discard: failed messages by ID, or all of them. */
#include "cli/command.h"
#include "cli/output.h"
#include "cli/progress.h"

#include <outbox/helpers.h>

#include <limits.h>
#include <stdio.h>

/* The rows of one ID: a message and its copies. */
#define MAX_ROWS 500

struct args {
    struct syntax_args common;
    const struct bulk *bulk; /* what the command does */
    bool all;
    const char *topic;
    bool dry_run;
};

static const struct syntax_option options[] = {
    {"all", 'A', SYNTAX_FLAG, offsetof(struct args, all), NULL,
     "All failed messages, instead of IDs"},
    {"topic", 't', SYNTAX_TEXT, offsetof(struct args, topic), "PATTERN",
     "With --all: only topics that match"},
    {"publisher", 'p', SYNTAX_TEXT, offsetof(struct args, common.publisher), "NAME",
     "With --all: only what failed at this publisher's lane"},
    {"dry-run", 'n', SYNTAX_FLAG, offsetof(struct args, dry_run), NULL,
     "Tell what would be done, and change nothing"},
    {0},
};

static void check(struct argp_state *state, void *data)
{
    const struct args *args = data;
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

static int run_one(struct store *store, const struct args *args, const char *id)
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

static int run(struct store *store, void *data)
{
    const struct args *args = data;
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

static const struct bulk requeue = {"requeue", "requeued", store_requeue, false};
static const struct bulk discard = {"discard", "discarded", store_discard, false};

const struct command cmd_requeue = {
    .name = "requeue",
    .summary = "make failed messages pending again",
    .syntax = {options, "ID...\n--all", INT_MAX, NULL,
               "Makes failed messages pending again, with no attempt charged; their last error is "
               "kept until the next.",
               check},
    .args_size = sizeof(struct args),
    .defaults = &(const struct args){.bulk = &requeue},
    .run_store = run,
};

const struct command cmd_discard = {
    .name = "discard",
    .summary = "delete failed messages",
    .syntax = {options, "ID...\n--all", INT_MAX, NULL, "Deletes failed messages, for good.", check},
    .args_size = sizeof(struct args),
    .defaults = &(const struct args){.bulk = &discard},
    .run_store = run,
};
