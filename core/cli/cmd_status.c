/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_status.c - outboxd status: how much waits, for how long, and who works on it. */
#include "cli/command.h"
#include "cli/status.h"

#include <stdio.h>
#include <unistd.h>

struct args {
    struct command_common common;
    bool json;
    bool watch;
    bool exact;
};

static const struct argp_option options[] = {
    {"json", 'j', NULL, 0, "As a JSON object", 0},
    {"watch", 'w', NULL, 0, "Again every second, until interrupted", 0},
    {"exact", 'x', NULL, 0, "Count everything, however long it takes", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct args *args = state->input;
    (void)arg;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->common;
        return 0;
    case 'j':
        args->json = true;
        return 0;
    case 'w':
        args->watch = true;
        return 0;
    case 'x':
        args->exact = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "takes no argument");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int look(struct store *store, const struct args *args)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_stats stats = {.size = sizeof stats};
    struct outbox_relay_page none = {.size = sizeof none}, *relays = &none;
    struct outbox_call call = store_call(args->exact ? COMMAND_LONG_MS : COMMAND_CALL_MS, -1);
    uint32_t flags = args->exact ? OUTBOX_STATS_EXACT : 0;
    if (store_stats(store, (struct outbox_str){NULL, 0}, flags, &call, &stats, &err) < 0)
        return command_fail("%s", err.text);
    int r = store_relay_list(store, &call, &relays, &err);
    if (r < 0 && r != OUTBOX_E_NOTSUP)
        return command_fail("%s", err.text);
    if (args->json)
        return status_print_json(&stats, relays) < 0 ? EXIT_FAILED : EXIT_DONE;
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
        code = look(store, args);
    } while (code == EXIT_DONE && fflush(stdout) == 0 && sleep(1) == 0);
    return code;
}

int cmd_status(int argc, char **argv)
{
    static const struct argp_child children[] = {{&command_common_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Shows how many messages wait and for how long, how the publishers are, and which "
               "relays live. Counts that were cut short say >=.",
        .children = children,
    };
    struct args args = {0};
    struct store store;
    if (!command_parse(&argp, argc, argv, &args))
        return EXIT_FAILED;
    int code;
    struct config *config = command_config(&args.common, &code);
    if (!config)
        return code;
    code = command_store(config, true, &store);
    if (code == 0)
        code = args.watch ? watch(&store, &args) : look(&store, &args);
    store_close(&store);
    config_free(config);
    return command_finish(code);
}
