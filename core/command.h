/* SPDX-License-Identifier: Apache-2.0 */
/* command.h - the subcommands of outboxd and what they share. */
#ifndef CORE_COMMAND_H
#define CORE_COMMAND_H

#include "config.h"
#include "store.h"

#include <argp.h>
#include <stdbool.h>

/* Exit codes (outboxd(1)). */
#define EXIT_DONE 0
#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* argv[0] is "outboxd NAME". Each parses its own options with argp and returns an exit code. */
typedef int (*command_fn)(int argc, char **argv);
struct command {
    const char *name;
    const char *summary;
    command_fn run;
};

int cmd_run(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_init(int argc, char **argv);
int cmd_send(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_route(int argc, char **argv);
int cmd_plugins(int argc, char **argv);

/* The option -c FILE that every command has: list it as an argp child. */
struct command_common {
    const char *config_file; /* CONFIG_DEFAULT_FILE unless -c */
};
extern const struct argp command_common_argp; /* its input: struct command_common * */

/* argp_parse with our exit code for wrong usage. Returns 0 or EXIT_USAGE. */
int command_parse(const struct argp *argp, int argc, char **argv, void *input);

/* Prints every mistake to stderr as FILE:LINE: text; NULL when there was one. */
struct config *command_config(const struct command_common *common);

/* Opens the configured store for a command, checks that the table is there; prints its error. */
int command_store(const struct config *config, bool check, struct store *store);

/* "outboxd: text" to stderr, escaped for a terminal. Returns EXIT_FAILED. */
int command_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same, with a hint at --help. Returns EXIT_USAGE. */
int command_usage(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* --header NAME=VALUE, repeated, as send and route take it. */
struct header_args {
    struct outbox_header *headers;
    uint64_t n;
};
/* 0, or -1 for text without `=` or with an empty or a repeated name. The text must stay. */
int header_args_add(struct header_args *args, const char *text);
void header_args_free(struct header_args *args);

#endif
