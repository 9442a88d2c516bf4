/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - outboxd: picks the subcommand. */
#include "base/suggest.h"
#include "cli/command.h"
#include "cli/crash.h"
#include "plugin/current_call.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
    for (size_t i = 0; commands[i]; i++) {
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
        suggest_try(&nearest, commands[i]->name);
    }
    suggest_try(&nearest, "help");
    report_failure("there is no command `%s`%s (outboxd --help lists them)", name,
                   suggest_hint(&nearest));
    return NULL;
}

/* "help NAME" is "NAME --help"; "help" and "help help" are --help. */
static int help(const struct argp *argp, char *program, const char *about)
{
    char help_option[] = "--help";
    char *args[] = {program, help_option, NULL};
    if (!about || strcmp(about, "help") == 0)
        return argp_parse(argp, 2, args, ARGP_IN_ORDER, NULL, NULL);
    const struct command *command = find(about);
    return command ? command_run(command, LOAD_DEFAULT_FILE, 2, args) : EXIT_USAGE;
}

/* argp's help_filter: writes what --help shows below the options. */
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
    for (size_t i = 0; commands[i]; i++)
        fprintf(f, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\nEach has --help and a manual page, outboxd-COMMAND(8).\n"
          "Exit codes: 0 done, 1 failed, 2 usage or configuration.",
          f);
    fclose(f);
    return out;
}

/* A standard stream that was closed is opened in a way that makes its use fail as before. Without
 * that the next file, say the database, would get its number, and output would go there. */
static void open_standard_streams(void)
{
    static const int modes[] = {O_WRONLY, O_RDONLY, O_RDONLY};
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) < 0)
            _exit(EXIT_FAILED);
}

/*
 * Ends the program without exit handlers and destructors: a plugin may have left a thread behind
 * that hangs in a library (a resolver, a handshake), and libraries free there what it uses.
 */
static int leave(int code)
{
#ifndef EXIT_HANDLERS
    fflush(stdout);
    _exit(code);
#endif
    return code;
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
    struct chosen chosen = {.config_file = LOAD_DEFAULT_FILE};
    struct current_call calls;
    open_standard_streams();
    current_call_init(&calls);
    current_call_adopt(&calls, false);
    crash_install();
    signal(SIGCHLD, SIG_DFL); /* a parent may have set it to be ignored; waitpid needs it */
    signal(SIGXFSZ, SIG_IGN); /* a file at the limit of its size is an error like others */
    argp_program_version = "outboxd " PACKAGE_VERSION;
    argp_err_exit_status = EXIT_USAGE;
    error_t error = argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &chosen);
    if (error)
        return report_failure("cannot read the options: %s", strerror(error));
    const char *name = argv[chosen.at];
    if (strcmp(name, "help") == 0)
        return help(&argp, argv[0], argv[chosen.at + 1]);
    const struct command *command = find(name);
    return leave(command
                     ? command_run(command, chosen.config_file, argc - chosen.at, argv + chosen.at)
                     : EXIT_USAGE);
}
