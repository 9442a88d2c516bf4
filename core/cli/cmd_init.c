/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_init.c - outboxd init: creates or upgrades the tables, or prints how. */
#include "cli/command.h"
#include "cli/output.h"

#include <stdio.h>

struct args {
    struct syntax_args common;
    bool print;
};

static const struct syntax_option options[] = {
    {"print", 'p', SYNTAX_FLAG, offsetof(struct args, print), NULL,
     "Write the SQL for your own migration tool; change nothing"},
    {0},
};

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

static int init(struct store *store, void *data)
{
    const struct args *args = data;
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done = {NULL, 0};
    const struct outbox_exec exec = {.size = sizeof exec, .run = print_statement};
    struct outbox_call call = store_call(COMMAND_LONG_MS, -1);
    int r = args->print ? store_schema(store, &exec, &err) : store_init(store, &call, &done, &err);
    if (r < 0)
        report_failure("%s", err.text);
    if (done.p) {
        output_text(done, 1000);
        putchar('\n');
    }
    return r < 0 ? EXIT_FAILED : EXIT_DONE;
}

const struct command cmd_init = {
    .name = "init",
    .summary = "create or upgrade the tables",
    .syntax.options = options,
    .syntax.doc = "Creates the tables, or brings older ones up to date. It may be run again.",
    .args_size = sizeof(struct args),
    .run_store = init,
};
