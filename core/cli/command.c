/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include "base/log.h"
#include "base/suggest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int check_publisher(const struct config *config, const char *name)
{
    struct suggest nearest = suggest_for(name);
    if (config_find_publisher(config, name, &nearest) != ROUTE_NONE)
        return EXIT_DONE;
    report_failure("there is no [publisher %s] in %s%s", name, config->file,
                   suggest_hint(&nearest));
    return EXIT_USAGE;
}

static int run_with_config(const struct command *command, struct syntax_args *args)
{
    struct config *config = NULL;
    int r = command->run_store ? load_store(args->config_file, report_mistake, NULL, &config)
                               : load_config(args->config_file, report_mistake, NULL, &config);
    if (r < 0)
        return report_exit_code(r);
    /* A file for the store alone, say a monitor's, has no publishers. */
    bool check = args->publisher && config->n_publishers > 0;
    int code = check ? check_publisher(config, args->publisher) : EXIT_DONE;
    if (code == EXIT_DONE && command->run_config)
        code = command->run_config(config, args);
    else if (code == EXIT_DONE)
        code = command_with_store(config, args, command->run_store);
    config_free(config);
    return code;
}

int command_flush(int code)
{
    bool failed = ferror(stdout) != 0; /* an earlier write, whose errno is lost */
    int flushed = fflush(stdout), e = errno;
    clearerr(stdout); /* it is reported once */
    errno = e;
    if (flushed != 0)
        return report_failure("cannot write to standard output: %m");
    return failed ? report_failure("cannot write all to standard output") : code;
}

int command_run(const struct command *command, const char *config_file, int argc, char **argv)
{
    char name[32];
    struct syntax_args *args = calloc(1, command->args_size);
    if (!args)
        return report_failure("out of memory");
    snprintf(name, sizeof name, "outboxd %s", command->name);
    argv[0] = name;
    if (command->defaults)
        memcpy(args, command->defaults, command->args_size);
    args->command = command->name;
    args->config_file = config_file;
    int code = syntax_parse(&command->syntax, argc, argv, args);
    if (code == EXIT_DONE)
        code = command->run ? command->run(args) : run_with_config(command, args);
    free(args->headers);
    free(args);
    return command_flush(code);
}

int command_with_store(const struct config *config, void *args,
                       int (*run)(struct store *store, void *args))
{
    struct log *log = log_new(STDERR_FILENO, OUTBOX_LOG_WARNING, LOG_LOGFMT);
    struct store store = {0};
    struct outbox_err err = {.size = sizeof err};
    int r = config_open_store(config, &store, log, &err);
    int code = r < 0 ? report_error(r, &err) : command_flush(run(&store, args));
    store_close(&store);
    log_free(log);
    return code;
}

int command_next_page(struct store *store, const struct outbox_filter *filter, int64_t *after,
                      uint32_t limit, struct outbox_page **ret, struct outbox_err *err)
{
    struct outbox_call call = store_call(COMMAND_CALL_MS, -1);
    int r = store_list(store, filter, *after, limit, &call, ret, err);
    if (r == OUTBOX_OK && (*ret)->n > 0)
        *after = (*ret)->rows[(*ret)->n - 1]->message->seq;
    if (r == OUTBOX_OK && (*ret)->n > 0 && *after == COMMAND_FROM_FIRST)
        ++*after; /* else that row would be the first of all pages */
    return r;
}
