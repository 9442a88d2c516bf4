/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_status.c - outboxd status: how much waits, for how long, and who works on it. */
#include "cli/command.h"
#include "cli/status.h"

#include <stdio.h>
#include <unistd.h>

struct args {
    struct syntax_args common;
    bool json;
    bool watch;
    bool exact;
};

static const struct syntax_option options[] = {
    {"json", 'j', SYNTAX_FLAG, offsetof(struct args, json), NULL, "As a JSON object"},
    {"watch", 'w', SYNTAX_FLAG, offsetof(struct args, watch), NULL,
     "Again every second, until interrupted"},
    {"exact", 'x', SYNTAX_FLAG, offsetof(struct args, exact), NULL,
     "Count everything, however long it takes"},
    {0},
};

static int print_once(struct store *store, const struct args *args)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_stats stats = {.size = sizeof stats};
    struct outbox_relay_page none = {.size = sizeof none}, *relays = &none;
    struct outbox_call call = store_call(args->exact ? COMMAND_LONG_MS : COMMAND_CALL_MS, -1);
    uint32_t flags = args->exact ? OUTBOX_STATS_EXACT : 0;
    if (store_stats(store, (struct outbox_str){NULL, 0}, flags, &call, &stats, &err) < 0)
        return report_failure("%s", err.text);
    int r = store_relay_list(store, &call, &relays, &err);
    if (r < 0 && r != OUTBOX_E_NOTSUP)
        return report_failure("%s", err.text);
    if (args->json)
        return status_print_json(&stats, relays);
    status_print(&stats, relays);
    return EXIT_DONE;
}

/* Until it fails, or a signal ends the program. */
static int watch(struct store *store, const struct args *args)
{
    const char *before = args->json ? "" : isatty(STDOUT_FILENO) ? "\033[H\033[2J" : "\n";
    int code;
    do {
        fputs(before, stdout);
        code = print_once(store, args);
    } while (code == EXIT_DONE && fflush(stdout) == 0 && sleep(1) == 0);
    return code;
}

static int status(struct store *store, void *data)
{
    const struct args *args = data;
    return args->watch ? watch(store, args) : print_once(store, args);
}

const struct command cmd_status = {
    .name = "status",
    .summary = "show counts, publishers and relays",
    .syntax.options = options,
    .syntax.doc =
        "Shows how many messages wait and for how long, how the publishers are, and which "
        "relays live. Counts that were cut short say >=.",
    .args_size = sizeof(struct args),
    .run_store = status,
};
