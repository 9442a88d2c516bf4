/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_send.c - outboxd send: writes one message, by hand or from a script. */
#include "cli/command.h"
#include "common/utf8.h"

#include <outbox/helpers.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid.h>

struct args {
    struct command_common common;
    const char *topic;
    const char *key;
    char id[37];
    int64_t delay_ms;
    struct header_args headers;
    const char *payload; /* NULL: SQL NULL */
};

static const struct argp_option options[] = {
    {"topic", 't', "TOPIC", 0, "What the message is about; needed", 0},
    {"key", 'k', "KEY", 0, "What it belongs to, say an order's number", 0},
    {"header", 'H', "NAME=VALUE", 0, "A header; may be repeated", 0},
    {"id", 'i', "UUID", 0, "The message's id; default: a random one", 0},
    {"delay", 'd', "DURATION", 0, "Publish not before then, say 10m", 0},
    {0},
};

static void set_id(struct args *args, const char *text, struct argp_state *state)
{
    if (!command_is_uuid(text)) {
        argp_error(state, "--id: `%s` is not a UUID (8-4-4-4-12 hexadecimal digits)", text);
        return;
    }
    for (size_t i = 0; i <= 36; i++)
        args->id[i] = (char)tolower((unsigned char)text[i]);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->common;
        return 0;
    case 't':
        args->topic = arg;
        return 0;
    case 'k':
        args->key = arg;
        return 0;
    case 'H':
        header_args_add(state, &args->headers, arg);
        return 0;
    case 'i':
        set_id(args, arg, state);
        return 0;
    case 'd':
        args->delay_ms = argp_duration(state, "delay", arg);
        return 0;
    case ARGP_KEY_ARG:
        if (args->payload)
            argp_error(state, "takes one PAYLOAD; quote it if it has blanks");
        args->payload = arg;
        return 0;
    case ARGP_KEY_END:
        if (!args->topic || !*args->topic)
            argp_error(state, "--topic is needed");
        else if (!utf8_is_clean(args->topic, strlen(args->topic)) ||
                 (args->key && !utf8_is_clean(args->key, strlen(args->key))))
            argp_error(state, "topic and key must be valid UTF-8");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* All of standard input, up to max bytes. */
static int read_stdin(uint64_t max, char **ret, size_t *ret_n)
{
    char *text = NULL;
    size_t n = 0, room = 0, got;
    do {
        if (n == room) {
            room = room ? room * 2 : 65536;
            char *grown = realloc(text, room);
            if (!grown) {
                free(text);
                return command_fail("out of memory");
            }
            text = grown;
        }
        got = fread(text + n, 1, room - n, stdin);
        n += got;
    } while (got > 0 && n <= max);
    if (ferror(stdin) || n > max) {
        free(text);
        return ferror(stdin) ? command_fail("cannot read standard input: %m")
                             : command_fail("the payload is larger than max_message (%llu bytes)",
                                            (unsigned long long)max);
    }
    *ret = text;
    *ret_n = n;
    return 0;
}

static int save(const struct config *config, const struct args *args, struct outbox_str payload)
{
    struct store store;
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call call = store_call(COMMAND_CALL_MS, -1);
    const struct outbox_new message = {
        .size = sizeof message,
        .id = outbox_cstr(args->id),
        .topic = outbox_cstr(args->topic),
        .key = outbox_cstr(args->key),
        .payload = payload,
        .headers = args->headers.headers,
        .n_headers = args->headers.n,
        .delay_ms = args->delay_ms,
    };
    const struct outbox_new *const rows[] = {&message};
    int code = command_store(config, true, &store);
    if (code == 0 && store_save(&store, rows, 1, NULL, &call, &err) < 0)
        code = command_fail("%s", err.text);
    store_close(&store);
    return code;
}

static int send_message(const struct config *config, struct args *args)
{
    struct outbox_str payload = outbox_cstr(args->payload);
    char *text = NULL;
    if (!args->id[0]) {
        uuid_t id;
        uuid_generate_random(id);
        uuid_unparse_lower(id, args->id);
    }
    if (args->payload && strcmp(args->payload, "-") == 0) {
        size_t n = 0;
        if (read_stdin(config->max_message, &text, &n) != 0)
            return EXIT_FAILED;
        payload = (struct outbox_str){text, n};
    } else if (payload.n > config->max_message) {
        return command_fail("the payload is larger than max_message (%llu bytes)",
                            (unsigned long long)config->max_message);
    }
    int code = save(config, args, payload);
    free(text);
    if (code == 0)
        puts(args->id);
    return code;
}

int cmd_send(int argc, char **argv)
{
    static const struct argp_child children[] = {{&command_common_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "[PAYLOAD]",
        .doc = "Writes one message and prints its id. Without PAYLOAD it has none (NULL); `-` "
               "reads it from standard input.",
        .children = children,
    };
    struct args args = {0};
    if (!command_parse(&argp, argc, argv, &args))
        return EXIT_FAILED;
    int code;
    struct config *config = command_config(&args.common, &code);
    if (config)
        code = send_message(config, &args);
    free(args.headers.headers);
    config_free(config);
    return command_finish(code);
}
