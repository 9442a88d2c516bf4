/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_send.c - outboxd send: writes one message, by hand or from a script. */
#include "cli/command.h"
#include "cli/output.h"
#include "common/utf8.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid.h>

struct args {
    struct syntax_args common;
    const char *topic;
    const char *key;
    char id[MESSAGE_ID_SIZE];
    int64_t delay_ms;
    struct outbox_str payload; /* NULL: SQL NULL */
};

static const struct syntax_option options[] = {
    {"topic", 't', SYNTAX_TEXT, offsetof(struct args, topic), "TOPIC",
     "What the message is about; needed"},
    {"key", 'k', SYNTAX_TEXT, offsetof(struct args, key), "KEY",
     "What it belongs to, say an order's number"},
    {"header", 'H', SYNTAX_HEADER, 0, "NAME=VALUE", "A header; may be repeated"},
    {"id", 'i', SYNTAX_UUID, offsetof(struct args, id), "UUID",
     "The message's id; default: a random one"},
    {"delay", 'd', SYNTAX_DURATION, offsetof(struct args, delay_ms), "DURATION",
     "Publish not before then, say 10m"},
    {0},
};

static void check(struct argp_state *state, void *data)
{
    const struct args *args = data;
    if (!args->topic || !*args->topic)
        argp_error(state, "--topic is needed");
    else if (!utf8_is_clean(args->topic, strlen(args->topic)) ||
             (args->key && !utf8_is_clean(args->key, strlen(args->key))))
        argp_error(state, "topic and key must be valid UTF-8");
}

static int fail_too_large(uint64_t max)
{
    return report_failure("the payload is larger than max_message (%" PRIu64 " bytes)", max);
}

/* All of standard input, up to max bytes. *ret is for free() in any case. Returns an exit code. */
static int read_stdin(uint64_t max, char **ret, size_t *ret_n)
{
    size_t room = 0, got;
    do {
        if (*ret_n == room) {
            room = room ? room * 2 : 65536;
            char *grown = realloc(*ret, room);
            if (!grown)
                return report_failure("out of memory");
            *ret = grown;
        }
        got = fread(*ret + *ret_n, 1, room - *ret_n, stdin);
        *ret_n += got;
    } while (got > 0 && *ret_n <= max);
    if (ferror(stdin))
        return report_failure("cannot read standard input: %m");
    return *ret_n > max ? fail_too_large(max) : EXIT_DONE;
}

static int save(struct store *store, void *data)
{
    const struct args *args = data;
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call call = store_call(COMMAND_CALL_MS, -1);
    const struct outbox_new message = {
        .size = sizeof message,
        .id = outbox_cstr(args->id),
        .topic = outbox_cstr(args->topic),
        .key = outbox_cstr(args->key),
        .payload = args->payload,
        .headers = args->common.headers,
        .n_headers = args->common.n_headers,
        .delay_ms = args->delay_ms,
    };
    const struct outbox_new *const rows[] = {&message};
    int r = store_save(store, rows, 1, NULL, &call, &err);
    if (r == OUTBOX_E_EXISTS)
        return report_failure("a message with the id %s is there already", args->id);
    if (r < 0)
        return report_failure("%s", err.text);
    puts(args->id);
    return EXIT_DONE;
}

/* The payload is read before the store is opened: no connection waits for a slow pipe. */
static int send_message(const struct config *config, void *data)
{
    struct args *args = data;
    const char *payload = args->common.n_operands ? args->common.operands[0] : NULL;
    char *text = NULL;
    size_t n = 0;
    int code = EXIT_DONE;
    args->payload = outbox_cstr(payload);
    if (!args->id[0]) {
        uuid_t id;
        uuid_generate_random(id);
        uuid_unparse_lower(id, args->id);
    }
    if (payload && strcmp(payload, "-") == 0) {
        code = read_stdin(config->max_message, &text, &n);
        args->payload = (struct outbox_str){text, n};
    } else if (args->payload.n > config->max_message) {
        code = fail_too_large(config->max_message);
    }
    if (code == EXIT_DONE)
        code = command_with_store(config, args, save);
    free(text);
    return code;
}

const struct command cmd_send = {
    .name = "send",
    .summary = "write one message",
    .syntax.options = options,
    .syntax.operands = "[PAYLOAD]",
    .syntax.max_operands = 1,
    .syntax.surplus = "takes one PAYLOAD; quote it if it has blanks",
    .syntax.doc =
        "Writes one message and prints its id. Without PAYLOAD it has none (NULL); `-` reads it "
        "from standard input.",
    .syntax.check = check,
    .args_size = sizeof(struct args),
    .run_config = send_message,
};
