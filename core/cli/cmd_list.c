/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_list.c - outboxd list and outboxd show: looks at messages. */
#include "cli/command.h"
#include "cli/output.h"
#include "common/utf8.h"

#include <outbox/helpers.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define LIMIT_DEFAULT 100
#define PAGE 200

struct list_args {
    struct command_common common;
    uint32_t statuses;
    const char *topic;
    const char *publisher;
    int64_t after;
    int64_t limit; /* 0: all */
    bool json;
};

static const struct argp_option list_options[] = {
    {"status", 's', "STATUS", 0, "pending, processing, processed or failed; may be repeated", 0},
    {"topic", 't', "PATTERN", 0, "Only topics that match, say 'invoice.*'", 0},
    {"publisher", 'p', "NAME", 0, "Only what waits for this publisher in a lane of its own", 0},
    {"after", 'a', "SEQ", 0, "Begin behind this sequence number", 0},
    {"limit", 'n', "N", 0, "At most so many (default 100; 0: all)", 0},
    {"json", 'j', NULL, 0, "One JSON object a line", 0},
    {0},
};

static error_t parse_list(int key, char *arg, struct argp_state *state)
{
    struct list_args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->common;
        return 0;
    case 's':
        args->statuses |= argp_status(state, arg);
        return 0;
    case 't':
        args->topic = arg;
        return 0;
    case 'p':
        args->publisher = arg;
        return 0;
    case 'a':
        args->after = argp_int(state, "after", arg, INT64_MIN, INT64_MAX);
        return 0;
    case 'n':
        args->limit = argp_int(state, "limit", arg, 0, INT64_MAX);
        return 0;
    case 'j':
        args->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "takes no argument; outboxd show ID shows one message");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int print_row(const struct outbox_row *row, bool json)
{
    if (json)
        return output_json(output_row_json(row));
    output_row_line(row);
    return ferror(stdout) ? -1 : 0;
}

static int list(const struct list_args *args, struct store *store)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_filter filter = {
        .size = sizeof filter,
        .statuses = args->statuses,
        .topic = outbox_cstr(args->topic),
        .lane = outbox_cstr(args->publisher),
    };
    int64_t left = args->limit ? args->limit : INT64_MAX;
    int64_t after = args->after;
    struct outbox_page *page = NULL;
    if (!args->json)
        output_row_header();
    do {
        struct outbox_call call = store_call(COMMAND_CALL_MS, -1);
        uint32_t n = left < PAGE ? (uint32_t)left : PAGE;
        if (store_list(store, &filter, after, n, &call, &page, &err) < 0)
            return command_fail("%s", err.text);
        for (uint32_t i = 0; i < page->n; i++) {
            if (print_row(page->rows[i], args->json) < 0)
                return EXIT_FAILED;
            after = page->rows[i]->message->seq;
        }
        left -= page->n;
    } while (page->n > 0 && left > 0);
    return EXIT_DONE;
}

int cmd_list(int argc, char **argv)
{
    static const struct argp_child children[] = {{&command_common_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .options = list_options,
        .parser = parse_list,
        .doc = "Lists messages in the order in which they were written.",
        .children = children,
    };
    struct list_args args = {.limit = LIMIT_DEFAULT, .after = COMMAND_FROM_FIRST};
    if (!command_parse(&argp, argc, argv, &args))
        return EXIT_FAILED;
    int code;
    struct config *config = command_config(&args.common, &code);
    if (!config)
        return code;
    code = EXIT_USAGE;
    if (!args.publisher || command_is_publisher(config, args.publisher)) {
        struct store store;
        code = command_store(config, true, &store);
        if (code == 0)
            code = list(&args, &store);
        store_close(&store);
    }
    config_free(config);
    return command_finish(code);
}

/* ---- show ---- */

struct show_args {
    struct command_common common;
    const char *id;
    bool json;
};

static const struct argp_option show_options[] = {
    {"json", 'j', NULL, 0, "As a JSON object", 0},
    {0},
};

static error_t parse_show(int key, char *arg, struct argp_state *state)
{
    struct show_args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->common;
        return 0;
    case 'j':
        args->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (args->id)
            argp_error(state, "takes one ID");
        args->id = arg;
        return 0;
    case ARGP_KEY_END:
        if (!args->id)
            argp_error(state, "the ID of a message is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int show(const struct show_args *args, struct store *store)
{
    struct outbox_err err = {.size = sizeof err};
    struct command_ids ids;
    struct outbox_page *page;
    struct outbox_call call = store_call(COMMAND_CALL_MS, -1);
    command_ids(&ids, args->id);
    struct outbox_filter filter = {.size = sizeof filter, .ids = ids.ids, .n_ids = ids.n};
    if (store_list(store, &filter, COMMAND_FROM_FIRST, PAGE, &call, &page, &err) < 0)
        return command_fail("%s", err.text);
    if (page->n == 0)
        return command_unknown_id(args->id);
    for (uint32_t i = 0; i < page->n; i++) {
        if (args->json && output_json(output_row_json(page->rows[i])) < 0)
            return EXIT_FAILED;
        if (!args->json) {
            if (i > 0)
                putchar('\n');
            output_row_full(page->rows[i]);
        }
    }
    return EXIT_DONE;
}

int cmd_show(int argc, char **argv)
{
    static const struct argp_child children[] = {{&command_common_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .options = show_options,
        .parser = parse_show,
        .args_doc = "ID",
        .doc = "Shows a message and, if it was copied for several publishers, its copies.",
        .children = children,
    };
    struct show_args args = {0};
    if (!command_parse(&argp, argc, argv, &args))
        return EXIT_FAILED;
    if (!command_id_is_possible(args.id))
        return EXIT_USAGE;
    int code;
    struct config *config = command_config(&args.common, &code);
    if (!config)
        return code;
    struct store store;
    code = command_store(config, true, &store);
    if (code == 0)
        code = show(&args, &store);
    store_close(&store);
    config_free(config);
    return command_finish(code);
}
