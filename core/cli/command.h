/* SPDX-License-Identifier: Apache-2.0 */
/* command.h - the subcommands of outboxd and what they share. */
#ifndef CORE_CLI_COMMAND_H
#define CORE_CLI_COMMAND_H

#include "base/suggest.h"
#include "config/config.h"
#include "config/load.h"
#include "plugin/store.h"

#include <argp.h>
#include <stdbool.h>

/* Exit codes (outboxd(1)). */
#define EXIT_DONE 0
#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* How long an ordinary command waits for the store, ms; work that takes its time gets more. */
#define COMMAND_CALL_MS 30000
#define COMMAND_LONG_MS 3600000

/* The `after` of pages that begin at the first row: somebody may have written one below zero. */
#define COMMAND_FROM_FIRST INT64_MIN

/* argv[0] is "outboxd NAME". Each parses its own options with argp and returns an exit code. */
typedef int (*command_fn)(int argc, char **argv);
struct command {
    const char *name;
    const char *summary;
    command_fn run;
};

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

/* The option -c FILE that every command has: list it as an argp child. */
struct command_common {
    const char *config_file; /* LOAD_DEFAULT_FILE unless -c */
};
extern const struct argp command_common_argp; /* its input: struct command_common * */

/* Reads the options, and ends the process when they are wrong. False: there was no memory for it,
 * so none was read. */
bool command_parse(const struct argp *argp, int argc, char **argv, void *args);

/* Prints every mistake to stderr as FILE:LINE: text; NULL when there was one, with the exit code.
 */
struct config *command_config(const struct command_common *common, int *ret_code);
/* EXIT_USAGE for what a person has to put right, EXIT_FAILED for the rest. */
int command_code(int r);

/* The diag_report_fn of all commands. */
void command_mistake(void *ctx, const char *file, int line, const char *text);

/* Opens the configured store for a command; with `check`, also that its table is there. 0 or
 * EXIT_FAILED after its error was printed. Close it by store_close either way. */
int command_store(const struct config *config, bool check, struct store *store);

/* "outboxd: text" to stderr, made fit for a terminal. Returns EXIT_FAILED. */
int command_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* After a batch of many that began then: sleeps half the time it took, so that producers that wait
 * for the database get it. */
void command_rest(int64_t began_us);

/* The exit code, or EXIT_FAILED when what was printed did not arrive. */
int command_finish(int code);

/* A duration or whole number from an option's text; a mistake ends the program by argp_error. */
int64_t argp_duration(const struct argp_state *state, const char *option, const char *text);
int64_t argp_int(const struct argp_state *state, const char *option, const char *text, int64_t min,
                 int64_t max);
/* The status's bit. */
uint32_t argp_status(const struct argp_state *state, const char *text);

/* --header NAME=VALUE, repeated, as send and route take it. */
struct header_args {
    struct outbox_header *headers;
    uint64_t n;
};
/* Ends the program by argp_error for text without `=`, with an empty or repeated name, or not
 * valid UTF-8. The text must stay. */
void header_args_add(const struct argp_state *state, struct header_args *args, char *text);

/* Ends the program by argp_error unless text is a publisher of the configuration. */
bool command_is_publisher(const struct config *config, const char *name);

/* 8-4-4-4-12 hexadecimal digits? */
bool command_is_uuid(const char *text);

/* The forms under which a row of that id may be stored. `text` must stay. */
struct command_ids {
    struct outbox_str ids[2];
    uint64_t n;
    char lower[37];
};
void command_ids(struct command_ids *ids, const char *text);

/* Could a row have this id at all? If not, says so. */
bool command_id_is_possible(const char *text);
/* Says that no row has it: EXIT_FAILED; or that it is no UUID either: EXIT_USAGE. */
int command_unknown_id(const char *text);

#endif
