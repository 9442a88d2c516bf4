/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include "base/clock.h"
#include "base/value.h"
#include "cli/output.h"
#include "common/utf8.h"

#include <outbox/helpers.h>

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uuid.h>

static const struct argp_option common_options[] = {
    {"config", 'c', "FILE", 0, "Read this file instead of " LOAD_DEFAULT_FILE, 0},
    {0},
};

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
    struct command_common *common = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        if (!common->config_file)
            common->config_file = LOAD_DEFAULT_FILE;
        return 0;
    case 'c':
        common->config_file = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp command_common_argp = {.options = common_options, .parser = parse_common};

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

int command_finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    return command_fail("cannot write to standard output: %m");
}

void command_mistake(void *ctx, const char *file, int line, const char *text)
{
    char shown[4096];
    (void)ctx;
    utf8_printable(text, strlen(text), shown, sizeof shown);
    if (line > 0)
        fprintf(stderr, "%s:%d: %s\n", file, line, shown);
    else
        fprintf(stderr, "%s: %s\n", file, shown);
}

bool command_parse(const struct argp *argp, int argc, char **argv, void *args)
{
    error_t error = argp_parse(argp, argc, argv, 0, NULL, args);
    if (error)
        command_fail("cannot read the options: %s", strerror(error));
    return error == 0;
}

int command_code(int r)
{
    return r == OUTBOX_E_CONFIG ? EXIT_USAGE : EXIT_FAILED;
}

struct config *command_config(const struct command_common *common, int *ret_code)
{
    struct config *config = NULL;
    int r = load_config(common->config_file, command_mistake, NULL, &config);
    *ret_code = r < 0 ? command_code(r) : EXIT_DONE;
    return config;
}

int command_store(const struct config *config, bool check, struct store *store)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call call = store_call(COMMAND_CALL_MS, -1);
    *store = (struct store){0};
    int r = store_open(store, config->store_plugin, config->store_options, NULL, &err);
    if (r < 0) {
        command_fail("%s", err.text);
        return command_code(r);
    }
    /* A table that is not there yet, or of another version, is no mistake of the file. */
    return check && store_check(store, &call, &err) < 0 ? command_fail("%s", err.text) : EXIT_DONE;
}

void command_rest(int64_t began_us)
{
    int64_t us = (clock_monotonic_us() - began_us) / 2;
    const struct timespec pause = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    nanosleep(&pause, NULL);
}

int64_t argp_duration(const struct argp_state *state, const char *option, const char *text)
{
    struct outbox_err err = {.size = sizeof err};
    int64_t ms = 0;
    if (value_duration(text, &ms, &err) < 0)
        argp_error(state, "--%s: %s", option, err.text);
    if (ms == OUTBOX_NEVER)
        argp_error(state, "--%s: `never` makes no sense here", option);
    return ms;
}

int64_t argp_int(const struct argp_state *state, const char *option, const char *text, int64_t min,
                 int64_t max)
{
    struct outbox_err err = {.size = sizeof err};
    int64_t n = 0;
    if (value_int(text, &n, &err) < 0)
        argp_error(state, "--%s: %s", option, err.text);
    if (n < min || n > max)
        argp_error(state, "--%s: %s is out of range", option, text);
    return n;
}

uint32_t argp_status(const struct argp_state *state, const char *text)
{
    struct suggest nearest = suggest_for(text);
    struct suggest_hint hint;
    for (uint32_t status = OUTBOX_PENDING; status <= OUTBOX_FAILED; status *= 2) {
        if (strcmp(text, output_status(status)) == 0)
            return status;
        suggest_try(&nearest, output_status(status));
    }
    argp_error(state, "--status: `%s` is none of pending, processing, processed and failed%s", text,
               suggest_hint(&nearest, &hint));
    return 0;
}

void header_args_add(const struct argp_state *state, struct header_args *args, char *text)
{
    char *equal = strchr(text, '=');
    if (!utf8_is_clean(text, strlen(text))) {
        argp_error(state, "--header: name and value must be valid UTF-8");
        return;
    }
    if (!equal || equal == text) {
        argp_error(state, "--header: `%s` is not NAME=VALUE", text);
        return;
    }
    *equal = '\0';
    for (uint64_t i = 0; i < args->n; i++)
        if (outbox_str_eq(args->headers[i].name, outbox_cstr(text)))
            argp_error(state, "--header: `%s` is given twice", text);
    struct outbox_header *grown =
        reallocarray(args->headers, (size_t)args->n + 1, sizeof *args->headers);
    if (!grown)
        argp_failure(state, EXIT_FAILED, 0, "out of memory");
    args->headers = grown;
    args->headers[args->n++] = (struct outbox_header){outbox_cstr(text), outbox_cstr(equal + 1)};
}

bool command_is_publisher(const struct config *config, const char *name)
{
    struct suggest nearest = suggest_for(name);
    struct suggest_hint hint;
    for (size_t i = 0; i < config->n_publishers; i++) {
        if (strcmp(config->publishers[i].name, name) == 0)
            return true;
        suggest_try(&nearest, config->publishers[i].name);
    }
    command_fail("there is no [publisher %s] in %s%s", name, config->file,
                 suggest_hint(&nearest, &hint));
    return false;
}

bool command_is_uuid(const char *text)
{
    uuid_t id;
    return uuid_parse(text, id) == 0;
}

void command_ids(struct command_ids *ids, const char *text)
{
    ids->ids[0] = outbox_cstr(text);
    ids->n = 1;
    if (!command_is_uuid(text))
        return;
    for (size_t i = 0; i < sizeof ids->lower; i++)
        ids->lower[i] = (char)tolower((unsigned char)text[i]);
    ids->ids[1] = outbox_cstr(ids->lower);
    ids->n = strcmp(ids->lower, text) == 0 ? 1 : 2;
}

bool command_id_is_possible(const char *text)
{
    size_t n = strlen(text);
    if (n > 0 && n <= 255 && utf8_is_clean(text, n))
        return true;
    command_fail("`%.60s` cannot be the id of a message", text);
    return false;
}

int command_unknown_id(const char *text)
{
    if (command_is_uuid(text))
        return command_fail("there is no message with the id %s", text);
    command_fail("`%s` is not a UUID, and no message has it for its id", text);
    return EXIT_USAGE;
}
