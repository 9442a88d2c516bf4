/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_route.c - outboxd route: where would a message go, and why? */
#include "cli/command.h"
#include "cli/output.h"
#include "common/message_json.h"
#include "route/router.h"

#include <outbox/helpers.h>

#include <stdio.h>

struct args {
    struct syntax_args common;
    const char *topic;
    const char *key;
    bool json;
};

static const struct syntax_option options[] = {
    {"topic", 't', SYNTAX_TEXT, offsetof(struct args, topic), "TOPIC",
     "The message's topic; needed"},
    {"key", 'k', SYNTAX_TEXT, offsetof(struct args, key), "KEY", "Its key"},
    {"header", 'H', SYNTAX_HEADER, 0, "NAME=VALUE", "A header; may be repeated"},
    {"json", 'j', SYNTAX_FLAG, offsetof(struct args, json), NULL, "As a JSON object"},
    {0},
};

/* A condition on what no option here can set would never hold. */
_Static_assert(N_SUBJECTS == 3, "outboxd route needs an option for each subject of a route");

static void check(struct argp_state *state, void *data)
{
    const struct args *args = data;
    if (!args->topic)
        argp_error(state, "--topic is needed");
}

/* Every route that was tried, as a line or as an element of `considered`. */
static void explain(void *considered, const struct route *route, const char *why)
{
    if (!considered) {
        printf("route %s (line %d): %s\n", route->name, route->line, why);
        return;
    }
    struct json_object *o = json_object_new_object();
    int r = o ? json_add_text(o, "route", outbox_cstr(route->name)) |
                    json_add_int(o, "line", route->line) | json_add_text(o, "why", outbox_cstr(why))
              : OUTBOX_E_RETRY;
    json_object_array_add(considered, output_complete(o, r));
}

static int print_json(const char *publisher, const struct route *route, const char *error,
                      struct json_object *considered)
{
    struct json_object *o = json_object_new_object();
    int r = o ? json_add_text(o, "publisher", outbox_cstr(publisher)) |
                    json_add_text(o, "route", outbox_cstr(route ? route->name : NULL)) |
                    output_add_bool(o, "fallback", publisher && !route) |
                    json_add_text(o, "error", outbox_cstr(error)) |
                    json_object_object_add(o, "considered", json_object_get(considered))
              : OUTBOX_E_RETRY;
    int code = output_json(output_complete(o, r));
    return publisher ? code : EXIT_FAILED;
}

static int route(const struct config *config, void *data)
{
    const struct args *args = data;
    struct router *router;
    struct outbox_err err = {.size = sizeof err};
    const struct route *by = NULL;
    size_t publisher = ROUTE_NONE;
    struct outbox_message message = {
        .size = sizeof message,
        .topic = outbox_cstr(args->topic),
        .key = outbox_cstr(args->key ? args->key : ""),
        .headers = args->common.headers,
        .n_headers = args->common.n_headers,
    };
    int r = router_open(&config->routes, NULL, &router, &err);
    if (r < 0)
        return report_error(r, &err);
    struct json_object *considered = args->json ? json_object_new_array() : NULL;
    r = router_route(router, &message, explain, considered, &publisher, &by, &err);
    const char *name = r < 0 ? NULL : config->publishers[publisher].name;
    int code = EXIT_DONE;
    if (args->json)
        code = print_json(name, by, r < 0 ? err.text : NULL, considered);
    else if (r < 0)
        code = report_failure("%s; unrouted = %s: the message %s", err.text,
                              config->unrouted_fail ? "fail" : "hold",
                              config->unrouted_fail ? "would become failed" : "would be held");
    else
        printf("publisher %s, by %s%s\n", name, by ? "route " : "the fallback", by ? by->name : "");
    json_object_put(considered);
    router_close(router);
    return code;
}

const struct command cmd_route = {
    .name = "route",
    .summary = "tell where a message would go, and why",
    .syntax.options = options,
    .syntax.doc =
        "Tells which publisher a message would go to, by which route, and why the routes before "
        "it did not take it. Nothing is written or sent.",
    .syntax.check = check,
    .args_size = sizeof(struct args),
    .run_config = route,
};
