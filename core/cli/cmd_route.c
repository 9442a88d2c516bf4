/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_route.c - outboxd route: where would a message go, and why? */
#include "cli/command.h"
#include "cli/output.h"
#include "common/message_json.h"
#include "route/router.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <stdlib.h>

struct args {
    struct command_common common;
    const char *topic;
    const char *key;
    struct header_args headers;
    bool json;
};

static const struct argp_option options[] = {
    {"topic", 't', "TOPIC", 0, "The message's topic; needed", 0},
    {"key", 'k', "KEY", 0, "Its key", 0},
    {"header", 'H', "NAME=VALUE", 0, "A header; may be repeated", 0},
    {"json", 'j', NULL, 0, "As a JSON object", 0},
    {0},
};

/* A condition on what no option here can set would never hold. */
_Static_assert(N_SUBJECTS == 3, "outboxd route needs an option for each subject of a route");

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
    case 'j':
        args->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "takes no argument");
        return 0;
    case ARGP_KEY_END:
        if (!args->topic)
            argp_error(state, "--topic is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Every route that was asked, as a line or as an element of `considered`. */
static void explain(void *considered, const struct route *route, const char *why)
{
    if (!considered) {
        printf("route %s (line %d): %s\n", route->name, route->line, why);
        return;
    }
    struct json_object *one = json_object_new_object();
    if (one && json_add_text(one, "route", outbox_cstr(route->name)) == 0 &&
        json_add_int(one, "line", route->line) == 0 &&
        json_add_text(one, "why", outbox_cstr(why)) == 0)
        json_object_array_add(considered, one);
    else
        json_object_put(one);
}

static int print_json(const char *publisher, const struct route *route, const char *error,
                      struct json_object *considered)
{
    struct json_object *o = json_object_new_object();
    if (!o || json_add_text(o, "publisher", outbox_cstr(publisher)) < 0 ||
        json_add_text(o, "route", outbox_cstr(route ? route->name : NULL)) < 0 ||
        json_object_object_add(o, "fallback", json_object_new_boolean(publisher && !route)) < 0 ||
        json_add_text(o, "error", outbox_cstr(error)) < 0 ||
        json_object_object_add(o, "considered", considered) < 0) {
        json_object_put(considered);
        json_object_put(o);
        return command_fail("out of memory");
    }
    return output_json(o) < 0 ? EXIT_FAILED : publisher ? EXIT_DONE : EXIT_FAILED;
}

static int route(const struct config *config, const struct args *args)
{
    struct router *router;
    struct outbox_err err = {.size = sizeof err};
    const struct route *by = NULL;
    size_t publisher = ROUTE_NONE;
    struct outbox_message message = {
        .size = sizeof message,
        .topic = outbox_cstr(args->topic),
        .key = outbox_cstr(args->key ? args->key : ""),
        .headers = args->headers.headers,
        .n_headers = args->headers.n,
    };
    struct json_object *considered = args->json ? json_object_new_array() : NULL;
    int r = router_open(&config->routes, NULL, &router, &err);
    if (r < 0) {
        json_object_put(considered);
        command_fail("%s", err.text);
        return command_code(r);
    }
    r = router_route(router, &message, explain, considered, &publisher, &by, &err);
    const char *name = r < 0 ? NULL : config->publishers[publisher].name;
    int code = EXIT_DONE;
    if (args->json)
        code = print_json(name, by, r < 0 ? err.text : NULL, considered);
    else if (r < 0)
        code = command_fail("%s; unrouted = %s: the message %s", err.text,
                            config->unrouted_fail ? "fail" : "hold",
                            config->unrouted_fail ? "would become failed" : "would be held");
    else
        printf("publisher %s, by %s%s\n", name, by ? "route " : "the fallback", by ? by->name : "");
    router_close(router);
    return code;
}

int cmd_route(int argc, char **argv)
{
    static const struct argp_child children[] = {{&command_common_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Tells which publisher a message would go to, by which route, and why the routes "
               "before it did not take it. Nothing is written or sent.",
        .children = children,
    };
    struct args args = {0};
    if (!command_parse(&argp, argc, argv, &args))
        return EXIT_FAILED;
    int code;
    struct config *config = command_config(&args.common, &code);
    if (config)
        code = route(config, &args);
    free(args.headers.headers);
    config_free(config);
    return command_finish(code);
}
