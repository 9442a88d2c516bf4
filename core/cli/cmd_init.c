/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_init.c - outboxd init: creates or upgrades the tables, or prints how. */
#include "cli/command.h"
#include "cli/output.h"

#include <stdio.h>

struct args {
    struct command_common common;
    bool print;
};

static const struct argp_option options[] = {
    {"print", 'p', NULL, 0, "Write the SQL for your own migration tool; change nothing", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct args *args = state->input;
    (void)arg;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->common;
        return 0;
    case 'p':
        args->print = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "takes no argument");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int print_statement(void *ctx, const char *sql, const struct outbox_arg *const *args,
                           uint64_t n, struct outbox_err *err)
{
    (void)ctx;
    (void)args;
    (void)err;
    (void)n; /* statements that make tables have no arguments */
    printf("%s;\n", sql);
    return OUTBOX_OK;
}

static int init(const struct config *config, bool print)
{
    struct store store;
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done = {NULL, 0};
    const struct outbox_exec exec = {.size = sizeof exec, .run = print_statement};
    struct outbox_call call = store_call(COMMAND_LONG_MS, -1);
    int code = command_store(config, false, &store);
    if (code == 0) {
        int r = print ? store_schema(&store, &exec, &err) : store_init(&store, &call, &done, &err);
        if (r < 0)
            code = command_fail("%s", err.text);
        if (done.p) {
            output_text(done, 1000);
            putchar('\n');
        }
    }
    store_close(&store);
    return code;
}

int cmd_init(int argc, char **argv)
{
    static const struct argp_child children[] = {{&command_common_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Creates the tables, or brings older ones up to date. It may be run again.",
        .children = children,
    };
    struct args args = {0};
    if (!command_parse(&argp, argc, argv, &args))
        return EXIT_FAILED;
    int code;
    struct config *config = command_config(&args.common, &code);
    if (!config)
        return code;
    code = init(config, args.print);
    config_free(config);
    return command_finish(code);
}
