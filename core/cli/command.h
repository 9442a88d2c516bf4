/* SPDX-License-Identifier: Apache-2.0 */
/* command.h - the subcommands of outboxd and what they share. */
#ifndef CORE_CLI_COMMAND_H
#define CORE_CLI_COMMAND_H

#include "cli/syntax.h"
#include "config/config.h"
#include "plugin/store.h"

#include <stdbool.h>

/* Exit codes (outboxd(1)). The larger one wins where a command does several things. */
#define EXIT_DONE 0
#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* How long an ordinary command waits for the store, ms; work that takes its time gets more. */
#define COMMAND_CALL_MS 30000
#define COMMAND_LONG_MS 3600000

/* The `after` of pages that begin at the first row: a producer may have written a seq below 0. */
#define COMMAND_FROM_FIRST INT64_MIN

/* argv[0] is "outboxd NAME". Each returns an exit code. */
typedef int (*command_fn)(int argc, char **argv);

int cmd_check(int argc, char **argv);
int cmd_discard(int argc, char **argv);
int cmd_init(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_plugins(int argc, char **argv);
int cmd_purge(int argc, char **argv);
int cmd_requeue(int argc, char **argv);
int cmd_route(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_send(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_status(int argc, char **argv);

/* What a command does with the configuration or with its open store. `args` are its own arguments,
 * which begin with a struct syntax_args. Returns an exit code. */
typedef int (*command_config_fn)(const struct config *config, void *args);
typedef int (*command_store_fn)(struct store *store, void *args);

/*
 * Runs a command from argv to exit code: reads its arguments and the configuration file, calls
 * `run`, frees both, and flushes standard output. Every mistake of the file was printed as
 * FILE:LINE: text when the configuration cannot be used; `run` is not called then.
 */
int command_run(const struct syntax *syntax, int argc, char **argv, struct syntax_args *args,
                command_config_fn run);
/* The same with the store open and its table checked. */
int command_run_store(const struct syntax *syntax, int argc, char **argv, struct syntax_args *args,
                      command_store_fn run);

/* Opens the configured store, calls `run`, and closes it; `check`: the table must be there. */
int command_with_store(const struct config *config, bool check, void *args, command_store_fn run);

/* Reads the page of rows behind *after, and moves *after behind its last row. Behind the last row
 * of all the page is empty. */
int command_next_page(struct store *store, const struct outbox_filter *filter, int64_t *after,
                      uint32_t limit, struct outbox_page **ret, struct outbox_err *err);

/* "outboxd: text" to stderr, made fit for a terminal. Returns EXIT_FAILED. */
int command_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Prints err's text like command_fail. Returns EXIT_USAGE for a mistake that a person has to
 * correct, else EXIT_FAILED; r is the OUTBOX_E_* that came with err. */
int command_fail_with(int r, const struct outbox_err *err);
int command_code(int r); /* only that exit code */
/* FILE:LINE: text to stderr; a config_report. */
void command_report(void *ctx, const char *file, int line, const char *text);
/* The exit code, or EXIT_FAILED when what was printed did not arrive. */
int command_finish(int code);

#endif
