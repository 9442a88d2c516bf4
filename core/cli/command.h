/* SPDX-License-Identifier: Apache-2.0 */
/* command.h - the subcommands of outboxd and what they share. */
#ifndef CORE_CLI_COMMAND_H
#define CORE_CLI_COMMAND_H

#include "cli/report.h"
#include "cli/syntax.h"
#include "config/config.h"
#include "config/load.h"
#include "plugin/store.h"

#include <stdbool.h>

/* How long an ordinary command waits for the store, ms; work that takes its time gets more. */
#define COMMAND_CALL_MS 30000
#define COMMAND_LONG_MS 3600000

/* The `after` of pages that begin at the first row: a producer may have written a seq below 0. */
#define COMMAND_FROM_FIRST INT64_MIN

/* What a command does, as a static table. One of the three functions does the work and returns an
 * exit code; `args` is a struct of the command's own, which begins with a struct syntax_args. */
struct command {
    const char *name;
    const char *summary; /* for outboxd --help */
    struct syntax syntax;
    size_t args_size;
    const void *defaults; /* of args; NULL: zeros */
    int (*run)(void *args);
    int (*run_config)(const struct config *config, void *args);
    int (*run_store)(struct store *store, void *args); /* its table was checked */
};

extern const struct command cmd_check, cmd_discard, cmd_init, cmd_list, cmd_plugins, cmd_purge,
    cmd_requeue, cmd_route, cmd_run, cmd_send, cmd_show, cmd_status;

/*
 * Runs a command from its arguments to an exit code: reads argv, whose first element is how the
 * command is called in texts, loads the configuration and opens the store if the command needs
 * them, runs it, and flushes standard output. A mistake in argv ends the program.
 */
int command_run(const struct command *command, const char *config_file, int argc, char **argv);

/* Opens the configured store, calls `run`, and closes it; `check`: the table must be there. */
int command_with_store(const struct config *config, bool check, void *args,
                       int (*run)(struct store *store, void *args));

/* Reads the next page, of at most `limit` rows with seq > *after, and sets *after to the seq of its
 * last row. An empty page is the end. */
int command_next_page(struct store *store, const struct outbox_filter *filter, int64_t *after,
                      uint32_t limit, struct outbox_page **ret, struct outbox_err *err);

#endif
