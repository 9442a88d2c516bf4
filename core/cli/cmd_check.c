/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_check.c - outboxd check: is the configuration right, and are the servers there? */
#include "cli/command.h"
#include "plugin/publisher.h"

#include <stdio.h>
#include <stdlib.h>

#define CONNECT_MS 10000

struct args {
    struct command_common common;
    bool connect;
};

static const struct argp_option options[] = {
    {"connect", 'C', NULL, 0, "Also connect to the store and the publishers", 0},
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
    case 'C':
        args->connect = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "takes no argument");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int mistake(const struct config *config, int line, int r, const struct outbox_err *err)
{
    command_mistake(NULL, config->file, line, err->text);
    return command_code(r);
}

static int verdict(const char *what, int r, const struct outbox_err *err)
{
    if (r == 0)
        printf("%s: ok\n", what);
    else
        command_fail("%s: %s", what, err->text);
    return r == 0 ? EXIT_DONE : EXIT_FAILED;
}

static int check_store(const struct config *config, bool connect)
{
    struct store store = {0};
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call call = store_call(CONNECT_MS, -1);
    int r = store_open(&store, config->store_plugin, config->store_options, NULL, &err);
    if (r < 0)
        return mistake(config, config->store_line, r, &err);
    int code = connect ? verdict("store", store_check(&store, &call, &err), &err) : EXIT_DONE;
    store_close(&store);
    return code;
}

static int check_publisher(const struct config *config, const struct publisher_config *p,
                           bool connect)
{
    struct publisher publisher = {0};
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call call = store_call(CONNECT_MS, -1);
    int r = publisher_open(&publisher, p->plugin, p->options, p->name, NULL, &err);
    if (r < 0)
        return mistake(config, p->line, r, &err);
    int code = EXIT_DONE;
    if (connect)
        code = verdict(publisher.label, publisher_check(&publisher, &call, &err), &err);
    publisher_close(&publisher);
    return code;
}

static int check_routes(const struct config *config)
{
    struct router *router;
    struct outbox_err err = {.size = sizeof err};
    int r = router_open(&config->routes, NULL, &router, &err);
    if (r < 0)
        return mistake(config, 0, r, &err);
    router_close(router);
    return EXIT_DONE;
}

static int worse(int a, int b)
{
    return a > b ? a : b;
}

int cmd_check(int argc, char **argv)
{
    static const struct argp_child children[] = {{&command_common_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Reports every mistake of the configuration file as FILE:LINE: message.",
        .children = children,
    };
    struct args args = {0};
    if (!command_parse(&argp, argc, argv, &args))
        return EXIT_FAILED;
    int code;
    struct config *config = command_config(&args.common, &code);
    if (!config)
        return code;
    code = worse(check_store(config, args.connect), check_routes(config));
    for (size_t i = 0; i < config->n_publishers; i++)
        code = worse(code, check_publisher(config, &config->publishers[i], args.connect));
    if (code == EXIT_DONE)
        printf("%s: ok (store %s, %zu publisher%s, %zu route%s)\n", config->file,
               config->store_plugin->desc.name, config->n_publishers,
               config->n_publishers == 1 ? "" : "s", config->routes.n_routes,
               config->routes.n_routes == 1 ? "" : "s");
    config_free(config);
    return command_finish(code);
}
