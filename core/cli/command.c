/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include "base/suggest.h"
#include "common/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int command_fail(const char *fmt, ...)
{
    char text[2048], shown[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    utf8_printable(text, strlen(text), shown, sizeof shown);
    fprintf(stderr, "outboxd: %s\n", shown);
    return EXIT_FAILED;
}

int command_code(int r)
{
    return r == OUTBOX_E_CONFIG ? EXIT_USAGE : EXIT_FAILED;
}

int command_fail_with(int r, const struct outbox_err *err)
{
    command_fail("%s", err->text);
    return command_code(r);
}

void command_report(void *ctx, const char *file, int line, const char *text)
{
    char shown[4096];
    (void)ctx;
    utf8_printable(text, strlen(text), shown, sizeof shown);
    if (line > 0)
        fprintf(stderr, "%s:%d: %s\n", file, line, shown);
    else
        fprintf(stderr, "%s: %s\n", file, shown);
}

int command_finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    return command_fail("cannot write to standard output: %m");
}

static int check_publisher(const struct config *config, const char *name)
{
    struct suggest nearest = suggest_for(name);
    struct suggest_hint hint;
    for (size_t i = 0; i < config->n_publishers; i++) {
        if (strcmp(config->publishers[i].name, name) == 0)
            return EXIT_DONE;
        suggest_try(&nearest, config->publishers[i].name);
    }
    command_fail("there is no [publisher %s] in %s%s", name, config->file,
                 suggest_hint(&nearest, &hint));
    return EXIT_USAGE;
}

static int run_with_config(const struct command *command, struct syntax_args *args)
{
    struct config *config = NULL;
    int r = config_load(args->config_file, command_report, NULL, &config);
    if (r < 0)
        return command_code(r);
    int code = args->publisher ? check_publisher(config, args->publisher) : EXIT_DONE;
    if (code == EXIT_DONE && command->run_config)
        code = command->run_config(config, args);
    else if (code == EXIT_DONE)
        code = command_with_store(config, true, args, command->run_store);
    config_free(config);
    return code;
}

int command_run(const struct command *command, const char *config_file, int argc, char **argv)
{
    struct syntax_args *args = calloc(1, command->args_size);
    if (!args)
        return command_fail("out of memory");
    if (command->defaults)
        memcpy(args, command->defaults, command->args_size);
    args->config_file = config_file;
    int code = syntax_parse(command, argc, argv, args);
    if (code == EXIT_DONE)
        code = command->run ? command->run(args) : run_with_config(command, args);
    free(args->headers);
    free(args);
    return command_finish(code);
}

int command_with_store(const struct config *config, bool check, void *args,
                       int (*run)(struct store *store, void *args))
{
    struct store store = {0};
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call call = store_call(COMMAND_CALL_MS, -1);
    int code;
    int r = store_open(&store, config->store_plugin, config->store_options, NULL, &err);
    if (r < 0)
        code = command_fail_with(r, &err);
    /* A table that is not there yet, or of another version, is no mistake of the file. */
    else if (check && store_check(&store, &call, &err) < 0)
        code = command_fail("%s", err.text);
    else
        code = run(&store, args);
    store_close(&store);
    return code;
}

int command_next_page(struct store *store, const struct outbox_filter *filter, int64_t *after,
                      uint32_t limit, struct outbox_page **ret, struct outbox_err *err)
{
    struct outbox_call call = store_call(COMMAND_CALL_MS, -1);
    int r = store_list(store, filter, *after, limit, &call, ret, err);
    if (r == OUTBOX_OK && (*ret)->n > 0)
        *after = (*ret)->rows[(*ret)->n - 1]->message->seq;
    return r;
}
