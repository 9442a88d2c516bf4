/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_purge.c - outboxd purge: retention by hand. */
#include "base/clock.h"
#include "cli/command.h"
#include "cli/count.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdio.h>

/* Small enough that producers hardly notice. */
#define BATCH 500

struct args {
    struct command_common common;
    int64_t older_ms; /* -1: not given */
    uint32_t statuses;
    bool dry_run;
};

static const struct argp_option options[] = {
    {"older-than", 'o', "DURATION", 0, "Only what is older, say 7d; needed. 0: all", 0},
    {"status", 's', "STATUS", 0, "processed (default) or failed; may be repeated", 0},
    {"dry-run", 'n', NULL, 0, "Tell how many there are, and delete nothing", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->common;
        args->older_ms = -1;
        return 0;
    case 'o':
        args->older_ms = argp_duration(state, "older-than", arg);
        return 0;
    case 's':
        args->statuses |= argp_status(state, arg);
        return 0;
    case 'n':
        args->dry_run = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "takes no argument");
        return 0;
    case ARGP_KEY_END:
        if (args->older_ms < 0)
            argp_error(state, "--older-than is needed");
        if (!args->statuses)
            args->statuses = OUTBOX_PROCESSED;
        if (args->statuses & ~(OUTBOX_PROCESSED | OUTBOX_FAILED))
            argp_error(state, "only processed and failed messages can be deleted");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int delete_all(struct store *store, const struct outbox_filter *filter, uint64_t *ret,
                      struct outbox_err *err)
{
    struct progress progress;
    struct countdown countdown = {0};
    uint64_t n = 0;
    int r;
    *ret = 0;
    progress_begin(&progress, "purge");
    do {
        struct outbox_call call = store_call(COMMAND_CALL_MS, -1);
        int64_t began_us = clock_monotonic_us();
        r = store_purge(store, filter, BATCH, &call, &n, err);
        if (r == 0 && n > 0)
            command_rest(began_us);
        *ret += r == 0 ? n : 0;
        countdown_show(&countdown, &progress, store, filter, COMMAND_FROM_FIRST, *ret);
    } while (r == 0 && n > 0);
    progress_end(&progress);
    return r;
}

static int purge(const struct args *args, struct store *store)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_filter filter = {
        .size = sizeof filter, .statuses = args->statuses, .older_than_ms = args->older_ms};
    const char *done = args->dry_run ? "would be deleted" : "deleted";
    uint64_t n = 0;
    bool cut;
    int r = args->dry_run ? count_rows(store, &filter, COMMAND_FROM_FIRST, 0, &n, &cut, &err)
                          : delete_all(store, &filter, &n, &err);
    if (r < 0)
        return command_fail("%s; %s %" PRIu64 " before that", err.text, done, n);
    printf("%s %" PRIu64 "\n", done, n);
    return EXIT_DONE;
}

int cmd_purge(int argc, char **argv)
{
    static const struct argp_child children[] = {{&command_common_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Deletes old messages in small batches; never what is pending or processing. "
               "Processed ones are as old as their processing, failed ones as their creation.",
        .children = children,
    };
    struct args args = {0};
    struct store store;
    if (!command_parse(&argp, argc, argv, &args))
        return EXIT_FAILED;
    int code;
    struct config *config = command_config(&args.common, &code);
    if (!config)
        return code;
    code = command_store(config, true, &store);
    if (code == 0)
        code = purge(&args, &store);
    store_close(&store);
    config_free(config);
    return command_finish(code);
}
