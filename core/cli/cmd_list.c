/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_list.c - outboxd list: messages, a line each. */
#include "cli/command.h"
#include "cli/output.h"

#include <outbox/helpers.h>

#include <stdio.h>

#define LIMIT_DEFAULT 100
#define PAGE 200

struct args {
    struct syntax_args common;
    uint32_t statuses;
    const char *topic;
    int64_t after;
    int64_t limit; /* 0: all */
    bool json;
};

static const struct syntax_option options[] = {
    {"status", 's', SYNTAX_STATUS, offsetof(struct args, statuses), "STATUS",
     "pending, processing, processed or failed; may be repeated"},
    {"topic", 't', SYNTAX_TEXT, offsetof(struct args, topic), "PATTERN",
     "Only topics that match, say 'invoice.*'"},
    {"publisher", 'p', SYNTAX_TEXT, offsetof(struct args, common.publisher), "NAME",
     "Only what waits for this publisher in a lane of its own"},
    {"after", 'a', SYNTAX_INT, offsetof(struct args, after), "SEQ",
     "Begin behind this sequence number"},
    {"limit", 'n', SYNTAX_COUNT, offsetof(struct args, limit), "N",
     "At most so many (default 100; 0: all)"},
    {"json", 'j', SYNTAX_FLAG, offsetof(struct args, json), NULL, "One JSON object a line"},
    {0},
};

static int print_row(const struct outbox_row *row, bool json)
{
    if (json)
        return output_json(output_row_json(row));
    output_row_line(row);
    return ferror(stdout) ? EXIT_FAILED : EXIT_DONE;
}

static int list(struct store *store, void *data)
{
    const struct args *args = data;
    struct outbox_err err = {.size = sizeof err};
    const struct outbox_filter filter = {
        .size = sizeof filter,
        .statuses = args->statuses,
        .topic = outbox_cstr(args->topic),
        .lane = outbox_cstr(args->common.publisher),
    };
    int64_t left = args->limit ? args->limit : INT64_MAX;
    int64_t after = args->after;
    struct outbox_page *page;
    if (!args->json)
        output_row_header();
    do {
        uint32_t n = left < PAGE ? (uint32_t)left : PAGE;
        if (command_next_page(store, &filter, &after, n, &page, &err) < 0)
            return report_failure("%s", err.text);
        for (uint32_t i = 0; i < page->n; i++)
            if (print_row(page->rows[i], args->json) != EXIT_DONE)
                return EXIT_FAILED;
        left -= page->n;
    } while (page->n > 0 && left > 0);
    return EXIT_DONE;
}

const struct command cmd_list = {
    .name = "list",
    .summary = "list messages",
    .syntax.options = options,
    .syntax.surplus = "takes no argument; outboxd show ID shows one message",
    .syntax.doc = "Lists messages in the order in which they were written.",
    .args_size = sizeof(struct args),
    .defaults = &(const struct args){.limit = LIMIT_DEFAULT, .after = COMMAND_FROM_FIRST},
    .run_store = list,
};
