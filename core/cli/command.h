/* SPDX-License-Identifier: Apache-2.0 */
/* command.h - the subcommands of outboxd and what they share. */
#pragma once

#include "config/config.h"
#include "config/load.h"
#include "plugin/store.h"

#include <argp.h>
#include <stdbool.h>

/* ---- errors on standard error, fit for a terminal, and the exit codes (report.c) ---- */

/* Exit codes (outboxd(8)). The larger one wins where a command does several things. */
#define EXIT_DONE 0
#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* Prints "outboxd: text". Returns EXIT_FAILED. */
int report_failure(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Prints "outboxd: " and err's text; r is the OUTBOX_E_* that came with it. Returns r's exit code.
 */
int report_error(int r, const struct outbox_err *err);
/* Prints FILE:LINE: text, without LINE if it is 0; a diag_report_fn. */
void report_mistake(void *ctx, const char *file, int line, const char *text);
/* Prints a text that says itself where the mistake is. */
void report_text(const char *text);

/* EXIT_USAGE for a mistake that a person has to correct, else EXIT_FAILED. */
int report_exit_code(int r);

/* ---- what a subcommand takes: a table lists its options, one parser reads them (syntax.c) ---- */

/* What an option's text becomes in the command's arguments. */
enum syntax_type {
    SYNTAX_FLAG,     /* bool: no text, true if given */
    SYNTAX_TEXT,     /* const char * */
    SYNTAX_UUID,     /* char[37], in lower case */
    SYNTAX_DURATION, /* int64_t, ms; `never` is refused */
    SYNTAX_INT,      /* int64_t */
    SYNTAX_COUNT,    /* int64_t, 0 or more */
    SYNTAX_STATUS,   /* uint32_t: OUTBOX_PENDING and so on; may be repeated, each adds its bit */
    SYNTAX_CHECK,    /* struct status_checks; may be repeated */
    SYNTAX_HEADER,   /* NAME=VALUE into struct syntax_args; may be repeated */
};

struct syntax_option {
    const char *name; /* NULL ends a table */
    int key;          /* the short option */
    enum syntax_type type;
    size_t offset;       /* of its member in the command's arguments; unused for SYNTAX_HEADER */
    const char *text;    /* how --help calls the option's text */
    const char *summary; /* one sentence for --help */
};

/* What the parser itself knows. A command's struct of arguments begins with it. */
struct syntax_args {
    const struct syntax *syntax;
    const char *command;     /* its name */
    const char *config_file; /* -c, which every command has */
    char **operands;         /* the arguments that are no options */
    int n_operands;
    const char *publisher;         /* --publisher; command_run checks that it is configured */
    struct outbox_header *headers; /* for free(); names and values point into argv */
    uint64_t n_headers;
};

struct syntax {
    const struct syntax_option *options;
    const char *operands; /* how --help shows them; NULL: none */
    int max_operands;
    const char *surplus; /* the error for more than max_operands; NULL: "takes no argument" */
    const char *doc;     /* for --help */
    /* Ends the program by argp_error when options do not fit together; may complete args. */
    void (*check)(struct argp_state *state, void *args);
};

/*
 * Reads argv into `args`, which begins with a struct syntax_args. A mistake in argv ends the
 * program, with exit code EXIT_USAGE and a text that says what is wrong. Returns an exit code:
 * EXIT_FAILED without memory.
 */
int syntax_parse(const struct syntax *syntax, int argc, char **argv, struct syntax_args *args);

/* ---- the subcommands (command.c) ---- */

/* How long an ordinary command waits for the store, ms; work that takes its time gets more. */
#define COMMAND_CALL_MS 30000
#define COMMAND_LONG_MS 3600000

/* The `after` of pages that begin at the first row: a producer may have written a seq below 0. */
#define COMMAND_FROM_FIRST INT64_MIN

/*
 * What a command does, as a static table. One of the three functions does the work and returns an
 * exit code; `args` is a struct of the command's own, which begins with a struct syntax_args.
 * run_config needs a whole file without mistakes, run_store [store] alone.
 */
struct command {
    const char *name;
    const char *summary; /* for outboxd --help */
    struct syntax syntax;
    size_t args_size;
    const void *defaults; /* of args; NULL: zeros */
    int (*run)(void *args);
    int (*run_config)(const struct config *config, void *args);
    int (*run_store)(struct store *store, void *args);
};

/* In the order of --help; ended by NULL (commands.c). */
extern const struct command *const commands[];

extern const struct command cmd_check, cmd_discard, cmd_init, cmd_list, cmd_plugins, cmd_purge,
    cmd_reload, cmd_requeue, cmd_route, cmd_run, cmd_send, cmd_show, cmd_status;

/*
 * Runs a command from its arguments to an exit code: reads argv, whose first element it replaces by
 * how the command is called in texts, loads the configuration and opens the store if the command
 * needs them, runs it, and flushes standard output. A mistake in argv ends the program.
 */
int command_run(const struct command *command, const char *config_file, int argc, char **argv);

/* Flushes standard output, before a plugin that is closed could crash and take it along. Reports a
 * write that failed, once; returns `code`, or EXIT_FAILED then. */
int command_flush(int code);

/* Opens the configured store, calls `run`, and closes it. It is not checked: that is for what a
 * relay needs, and a monitor may only read. What the store logs goes to stderr. */
int command_with_store(const struct config *config, void *args,
                       int (*run)(struct store *store, void *args));

/* Reads the next page, of at most `limit` rows with seq > *after, and sets *after to the seq of its
 * last row. An empty page is the end. */
int command_next_page(struct store *store, const struct outbox_filter *filter, int64_t *after,
                      uint32_t limit, struct outbox_page **ret, struct outbox_err *err);
