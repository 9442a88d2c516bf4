/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include "base/suggest.h"
#include "base/value.h"
#include "cli/output.h"
#include "cli/status_check.h"
#include "common/utf8.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of one command, without -c; --help would miss further ones. */
#define MAX_OPTIONS 8

static int64_t parse_duration(struct argp_state *state, const char *name, const char *text)
{
    struct outbox_err err = {.size = sizeof err};
    int64_t ms = 0;
    if (value_duration(text, &ms, &err) < 0)
        argp_error(state, "--%s: %s", name, err.text);
    if (ms == OUTBOX_NEVER)
        argp_error(state, "--%s: `never` makes no sense here", name);
    return ms;
}

static int64_t parse_int(struct argp_state *state, const char *name, const char *text, int64_t min)
{
    struct outbox_err err = {.size = sizeof err};
    int64_t n = 0;
    if (value_int(text, &n, &err) < 0)
        argp_error(state, "--%s: %s", name, err.text);
    if (n < min)
        argp_error(state, "--%s: %s is out of range", name, text);
    return n;
}

static uint32_t parse_status(struct argp_state *state, const char *text)
{
    struct suggest nearest = suggest_for(text);
    for (uint32_t status = OUTBOX_PENDING; status <= OUTBOX_FAILED; status *= 2) {
        if (strcmp(text, output_status(status)) == 0)
            return status;
        suggest_try(&nearest, output_status(status));
    }
    argp_error(state, "--status: `%s` is none of pending, processing, processed and failed%s", text,
               suggest_hint(&nearest));
    return 0;
}

static void add_check(struct argp_state *state, const char *name, const char *text,
                      struct status_checks *checks)
{
    struct outbox_err err = {.size = sizeof err};
    if (status_check_add(checks, text, &err) < 0)
        argp_error(state, "--%s: %s", name, err.text);
}

static void add_header(struct argp_state *state, struct syntax_args *args, char *text)
{
    char *equal = strchr(text, '=');
    if (!utf8_is_clean(text, strlen(text)))
        argp_error(state, "--header: name and value must be valid UTF-8");
    if (!equal || equal == text) {
        argp_error(state, "--header: `%s` is not NAME=VALUE", text);
        return;
    }
    *equal = '\0';
    for (uint64_t i = 0; i < args->n_headers; i++)
        if (outbox_str_eq(args->headers[i].name, outbox_cstr(text)))
            argp_error(state, "--header: `%s` is given twice", text);
    struct outbox_header *grown =
        reallocarray(args->headers, (size_t)args->n_headers + 1, sizeof *args->headers);
    if (!grown)
        argp_failure(state, EXIT_FAILED, 0, "out of memory");
    args->headers = grown;
    args->headers[args->n_headers++] =
        (struct outbox_header){outbox_cstr(text), outbox_cstr(equal + 1)};
}

static void parse_option(struct argp_state *state, const struct syntax_option *option,
                         struct syntax_args *args, char *text)
{
    void *member = (char *)args + option->offset;
    switch (option->type) {
    case SYNTAX_FLAG:
        *(bool *)member = true;
        break;
    case SYNTAX_TEXT:
        *(const char **)member = text;
        break;
    case SYNTAX_UUID:
        if (!message_id_is_uuid(text, member))
            argp_error(state, "--%s: `%s` is not a UUID (8-4-4-4-12 hexadecimal digits)",
                       option->name, text);
        break;
    case SYNTAX_DURATION:
        *(int64_t *)member = parse_duration(state, option->name, text);
        break;
    case SYNTAX_INT:
        *(int64_t *)member = parse_int(state, option->name, text, INT64_MIN);
        break;
    case SYNTAX_COUNT:
        *(int64_t *)member = parse_int(state, option->name, text, 0);
        break;
    case SYNTAX_STATUS:
        *(uint32_t *)member |= parse_status(state, text);
        break;
    case SYNTAX_CHECK:
        add_check(state, option->name, text, member);
        break;
    case SYNTAX_HEADER:
        add_header(state, args, text);
        break;
    }
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct syntax_args *args = state->input;
    const struct syntax *syntax = args->syntax;
    switch (key) {
    case 'c':
        args->config_file = text;
        return 0;
    case ARGP_KEY_ARGS:
        args->operands = state->argv + state->next;
        args->n_operands = state->argc - state->next;
        if (args->n_operands > syntax->max_operands)
            argp_error(state, "%s", syntax->surplus ? syntax->surplus : "takes no argument");
        return 0;
    case ARGP_KEY_END:
        if (syntax->check)
            syntax->check(state, args);
        return 0;
    default:
        for (const struct syntax_option *option = syntax->options; option->name; option++)
            if (option->key == key) {
                parse_option(state, option, args, text);
                return 0;
            }
        return ARGP_ERR_UNKNOWN;
    }
}

/* argp's help_filter: --help ends with the name of the command's manual page. */
static char *name_manual(int key, const char *text, void *input)
{
    const struct syntax_args *args = input;
    char *out = NULL;
    if (key != ARGP_KEY_HELP_POST_DOC || !args)
        return (char *)(uintptr_t)text;
    return asprintf(&out, "Manual page: outboxd-%s(8).", args->command) < 0 ? NULL : out;
}

int syntax_parse(const struct syntax *syntax, int argc, char **argv, struct syntax_args *args)
{
    struct argp_option shown[MAX_OPTIONS + 2] = {
        {"config", 'c', "FILE", 0, "Read this file instead of " LOAD_DEFAULT_FILE, 0}};
    const struct argp argp = {.options = shown,
                              .parser = parse,
                              .args_doc = syntax->operands,
                              .doc = syntax->doc,
                              .help_filter = name_manual};
    args->syntax = syntax;
    for (size_t i = 0; i < MAX_OPTIONS && syntax->options[i].name; i++) {
        const struct syntax_option *option = &syntax->options[i];
        shown[i + 1] =
            (struct argp_option){option->name, option->key, option->text, 0, option->summary, 0};
    }
    error_t error = argp_parse(&argp, argc, argv, 0, NULL, args);
    return error ? report_failure("cannot read the options: %s", strerror(error)) : EXIT_DONE;
}
