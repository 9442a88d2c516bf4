/* SPDX-License-Identifier: Apache-2.0 */
/* syntax.h - what a subcommand takes: a table lists its options, one parser reads them. */
#ifndef CORE_CLI_SYNTAX_H
#define CORE_CLI_SYNTAX_H

#include <outbox/abi.h>

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What an option's text becomes in the command's arguments. */
enum syntax_type {
    SYNTAX_FLAG,     /* bool: no text, true if given */
    SYNTAX_TEXT,     /* const char * */
    SYNTAX_UUID,     /* char[37], in lower case */
    SYNTAX_DURATION, /* int64_t, ms; `never` is refused */
    SYNTAX_INT,      /* int64_t */
    SYNTAX_COUNT,    /* int64_t, 0 or more */
    SYNTAX_STATUS,   /* uint32_t: OUTBOX_PENDING and so on; may be repeated, each adds its bit */
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

#endif
