/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_requeue.c - outboxd requeue and outboxd discard: dead letters, by a person. */
#include "base/clock.h"
#include "cli/command.h"
#include "cli/count.h"
#include "cli/output.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE 500

typedef int (*change_fn)(struct store *s, const struct outbox_filter *filter, int64_t *after,
                         uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                         struct outbox_err *err);

/* What the two commands differ in. */
struct deed {
    const char *name;
    const char *done; /* "requeued" */
    change_fn change;
};

struct args {
    struct command_common common;
    const struct deed *deed;
    char **ids;
    int n_ids;
    bool all;
    const char *topic;
    const char *publisher;
    bool dry_run;
};

static const struct argp_option options[] = {
    {"all", 'A', NULL, 0, "All failed messages, instead of IDs", 0},
    {"topic", 't', "PATTERN", 0, "With --all: only topics that match", 0},
    {"publisher", 'p', "NAME", 0, "With --all: only what failed at this publisher's lane", 0},
    {"dry-run", 'n', NULL, 0, "Tell what would be done, and change nothing", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->common;
        return 0;
    case 'A':
        args->all = true;
        return 0;
    case 't':
        args->topic = arg;
        return 0;
    case 'p':
        args->publisher = arg;
        return 0;
    case 'n':
        args->dry_run = true;
        return 0;
    case ARGP_KEY_ARGS:
        args->ids = state->argv + state->next;
        args->n_ids = state->argc - state->next;
        return 0;
    case ARGP_KEY_END:
        if (args->all == (args->n_ids > 0))
            argp_error(state, "either IDs or --all");
        if (!args->all && (args->topic || args->publisher))
            argp_error(state, "--topic and --publisher go with --all");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* What would be done. */
static int count_all(struct store *store, const struct outbox_filter *filter,
                     const struct deed *deed)
{
    struct outbox_err err = {.size = sizeof err};
    uint64_t n;
    bool cut;
    if (count_rows(store, filter, COMMAND_FROM_FIRST, 0, &n, &cut, &err) < 0)
        return command_fail("%s", err.text);
    printf("would be %s %" PRIu64 "\n", deed->done, n);
    return EXIT_DONE;
}

static int change_all(struct store *store, const struct outbox_filter *filter,
                      const struct deed *deed)
{
    struct outbox_err err = {.size = sizeof err};
    struct progress progress;
    struct countdown countdown = {0};
    int64_t after = COMMAND_FROM_FIRST;
    uint64_t n = 0, sum = 0;
    progress_begin(&progress, deed->name);
    do {
        struct outbox_call call = store_call(COMMAND_CALL_MS, -1);
        int64_t began_us = clock_monotonic_us();
        if (deed->change(store, filter, &after, PAGE, &call, &n, &err) < 0) {
            progress_end(&progress);
            return command_fail("%s; %s %" PRIu64 " before that", err.text, deed->done, sum);
        }
        sum += n;
        if (n > 0)
            command_rest(began_us);
        countdown_show(&countdown, &progress, store, filter, after, sum);
    } while (n > 0);
    progress_end(&progress);
    printf("%s %" PRIu64 "\n", deed->done, sum);
    return EXIT_DONE;
}

static int do_all(const struct args *args, struct store *store)
{
    const struct outbox_filter filter = {.size = sizeof filter,
                                         .statuses = OUTBOX_FAILED,
                                         .topic = outbox_cstr(args->topic),
                                         .lane = outbox_cstr(args->publisher)};
    return args->dry_run ? count_all(store, &filter, args->deed)
                         : change_all(store, &filter, args->deed);
}

/* Nothing was changed: why? */
static int explain(struct store *store, const struct outbox_filter *filter, const char *id)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call call = store_call(COMMAND_CALL_MS, -1);
    struct outbox_page *page;
    if (store_list(store, filter, COMMAND_FROM_FIRST, 1, &call, &page, &err) < 0)
        return command_fail("%s", err.text);
    if (page->n == 0)
        return command_unknown_id(id);
    return command_fail("%s is %s, not failed", id, output_status(page->rows[0]->status));
}

static int do_one(const struct args *args, struct store *store, const char *id)
{
    struct outbox_err err = {.size = sizeof err};
    struct command_ids ids;
    struct outbox_call call = store_call(COMMAND_CALL_MS, -1);
    int64_t after = COMMAND_FROM_FIRST;
    uint64_t n = 0;
    bool cut;
    command_ids(&ids, id);
    struct outbox_filter filter = {
        .size = sizeof filter, .statuses = OUTBOX_FAILED, .ids = ids.ids, .n_ids = ids.n};
    int r = args->dry_run ? count_rows(store, &filter, after, 0, &n, &cut, &err)
                          : args->deed->change(store, &filter, &after, PAGE, &call, &n, &err);
    if (r < 0)
        return command_fail("%s", err.text);
    filter.statuses = 0;
    if (n == 0)
        return explain(store, &filter, id);
    printf("%s%s ", args->dry_run ? "would be " : "", args->deed->done);
    output_text(outbox_cstr(id), 255);
    putchar('\n');
    return EXIT_DONE;
}

static int do_deed(const struct args *args, struct store *store)
{
    int code = EXIT_DONE;
    if (args->all)
        return do_all(args, store);
    for (int i = 0; i < args->n_ids; i++)
        if (!command_id_is_possible(args->ids[i]))
            return EXIT_USAGE;
    for (int i = 0; i < args->n_ids; i++) {
        int one = do_one(args, store, args->ids[i]);
        code = one > code ? one : code;
    }
    return code;
}

static int run(int argc, char **argv, const struct deed *deed, const struct argp *argp)
{
    struct args args = {.deed = deed};
    if (!command_parse(argp, argc, argv, &args))
        return EXIT_FAILED;
    int code;
    struct config *config = command_config(&args.common, &code);
    if (!config)
        return code;
    code = EXIT_USAGE;
    if (!args.publisher || command_is_publisher(config, args.publisher)) {
        struct store store;
        code = command_store(config, true, &store);
        if (code == 0)
            code = do_deed(&args, &store);
        store_close(&store);
    }
    config_free(config);
    return command_finish(code);
}

static const struct argp_child children[] = {{&command_common_argp, 0, NULL, 0}, {0}};

int cmd_requeue(int argc, char **argv)
{
    static const struct deed deed = {"requeue", "requeued", store_requeue};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "ID...\n--all",
        .doc = "Makes failed messages pending again, with no attempt charged; their last error is "
               "kept until the next.",
        .children = children,
    };
    return run(argc, argv, &deed, &argp);
}

int cmd_discard(int argc, char **argv)
{
    static const struct deed deed = {"discard", "discarded", store_discard};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "ID...\n--all",
        .doc = "Deletes failed messages, for good.",
        .children = children,
    };
    return run(argc, argv, &deed, &argp);
}
