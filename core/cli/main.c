/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - outboxd: picks the subcommand. */
#include "cli/command.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command commands[] = {
    {"run", "relay messages, in the foreground", cmd_run},
    {"check", "check the configuration file, and with --connect the servers", cmd_check},
    {"init", "create or upgrade the tables", cmd_init},
    {"send", "write one message", cmd_send},
    {"list", "list messages", cmd_list},
    {"show", "show one message", cmd_show},
    {"requeue", "make failed messages pending again", cmd_requeue},
    {"discard", "delete failed messages", cmd_discard},
    {"purge", "delete old messages", cmd_purge},
    {"status", "show counts, publishers and relays", cmd_status},
    {"route", "tell where a message would go, and why", cmd_route},
    {"plugins", "list plugins and their options", cmd_plugins},
};
#define N_COMMANDS (sizeof commands / sizeof commands[0])

struct chosen {
    const char *config_file;
    int at; /* the subcommand's index in argv; 0: none */
};

static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "Read this file instead of " LOAD_DEFAULT_FILE, 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct chosen *chosen = state->input;
    switch (key) {
    case 'c':
        chosen->config_file = arg;
        return 0;
    case ARGP_KEY_ARG:
        chosen->at = state->next - 1;
        state->next = state->argc; /* the rest is the subcommand's */
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_state_help(state, stderr, ARGP_HELP_USAGE | ARGP_HELP_STD_ERR);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct command *find(const char *name)
{
    struct suggest nearest = suggest_for(name);
    struct suggest_hint hint;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
        suggest_try(&nearest, commands[i].name);
    }
    suggest_try(&nearest, "help");
    command_fail("there is no command `%s`%s (outboxd --help lists them)", name,
                 suggest_hint(&nearest, &hint));
    return NULL;
}

/* The subcommand sees "outboxd NAME" as its name, then -c FILE if that stood before it. */
static int run(const struct command *command, const struct chosen *chosen, int argc, char **argv)
{
    char name[32], config_option[] = "-c";
    snprintf(name, sizeof name, "outboxd %s", command->name);
    char **args = calloc((size_t)argc + 4, sizeof *args);
    int n = 0;
    if (!args)
        return command_fail("out of memory");
    args[n++] = name;
    if (chosen->config_file) {
        args[n++] = config_option;
        args[n++] = (char *)(uintptr_t)chosen->config_file;
    }
    for (int i = chosen->at + 1; i < argc; i++)
        args[n++] = argv[i];
    int code = command->run(n, args);
    free(args);
    return code;
}

/* What --help shows below the options. */
static char *list_commands(int key, const char *text, void *input)
{
    char *out = NULL;
    size_t n = 0;
    (void)input;
    if (key != ARGP_KEY_HELP_POST_DOC)
        return (char *)(uintptr_t)text;
    FILE *f = open_memstream(&out, &n);
    if (!f)
        return NULL;
    fputs("Commands:\n", f);
    for (size_t i = 0; i < N_COMMANDS; i++)
        fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs("\nEach has --help. Exit codes: 0 done, 1 failed, 2 usage or configuration.", f);
    fclose(f);
    return out;
}

/* A standard stream that was closed is opened so that using it fails as before; otherwise the
 * next file, the database say, would take its number and be written to. */
static void keep_standard_streams(void)
{
    static const int modes[] = {O_WRONLY, O_RDONLY, O_RDONLY};
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) < 0)
            _exit(EXIT_FAILED);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "COMMAND [ARGUMENT...]",
        .doc = "Relays messages from an outbox table to brokers and programs.\v",
        .help_filter = list_commands,
    };
    struct chosen chosen = {0};
    keep_standard_streams();
    signal(SIGCHLD, SIG_DFL); /* ignored by who started us, it would hide how programs end */
    argp_program_version = "outboxd " PACKAGE_VERSION;
    argp_err_exit_status = EXIT_USAGE;
    error_t error = argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &chosen);
    if (error)
        return command_fail("cannot read the options: %s", strerror(error));
    const char *name = argv[chosen.at];
    if (strcmp(name, "help") == 0) {
        const char *about = chosen.at + 1 < argc ? argv[chosen.at + 1] : NULL;
        if (about && strcmp(about, "help") == 0)
            about = NULL;
        const struct command *command = about ? find(about) : NULL;
        char help_option[] = "--help";
        char *args[] = {argv[0], help_option, NULL};
        if (about && !command)
            return EXIT_USAGE;
        if (!about)
            return argp_parse(&argp, 2, args, ARGP_IN_ORDER, NULL, &chosen);
        chosen.at = 0;
        return run(command, &chosen, 2, args);
    }
    const struct command *command = find(name);
    return command ? run(command, &chosen, argc, argv) : EXIT_USAGE;
}
