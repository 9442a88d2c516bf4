/* SPDX-License-Identifier: Apache-2.0 */
#include "route/router.h"

#include "common/utf8.h"
#include "plugin/guard.h"

#include <outbox/helpers.h>

#include <fnmatch.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct router {
    const struct route_table *table;
    struct instance *rules; /* one for each route; opened where the route is a rule */
    char *scratch;          /* a subject with a NUL behind it, for fnmatch */
    size_t scratch_size;
};

/* What one route decides. Why is written only for `outboxd route`: most messages just pass by. */
struct answer {
    const char *publisher; /* NULL: pass */
    bool explain;
    char why[256];
};

static void __attribute__((format(printf, 2, 3)))
because(struct answer *answer, const char *fmt, ...)
{
    va_list ap;
    if (!answer->explain)
        return;
    va_start(ap, fmt);
    vsnprintf(answer->why, sizeof answer->why, fmt, ap);
    va_end(ap);
}

/* A message's text as `because` may show it. */
#define SHOWN_SIZE 80
static const char *show(char buffer[SHOWN_SIZE], const struct answer *answer,
                        struct outbox_str text)
{
    buffer[0] = '\0';
    if (answer->explain)
        utf8_printable(text.p, (size_t)text.n, buffer, SHOWN_SIZE);
    return buffer;
}

int router_open(const struct route_table *table, struct log *log, struct router **ret,
                struct outbox_err *err)
{
    int r = OUTBOX_OK;
    struct router *router = calloc(1, sizeof *router);
    if (router)
        router->rules = calloc(table->n_routes + 1, sizeof *router->rules);
    if (!router || !router->rules) {
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory while opening the router");
        goto out;
    }
    router->table = table;
    for (size_t i = 0; i < table->n_routes && r == 0; i++) {
        const struct route *route = &table->routes[i];
        char label[80];
        if (!route->rule)
            continue;
        snprintf(label, sizeof label, "route %s", route->name);
        const struct instance_setup setup = {.plugin = route->rule,
                                             .cfg = route->rule_cfg,
                                             .label = label,
                                             .log = log,
                                             .shared = route->rule_shared};
        r = instance_open(&router->rules[i], &setup, err);
    }
out:
    if (r < 0)
        router_close(router);
    else
        *ret = router;
    return r;
}

void router_close(struct router *router)
{
    if (!router)
        return;
    for (size_t i = 0; router->rules && router->table && i < router->table->n_routes; i++)
        instance_close(&router->rules[i]);
    free(router->rules);
    free(router->scratch);
    free(router);
}

/* 1, 0, or OUTBOX_E_RETRY without memory. A text with a NUL inside matches nothing. */
static int matches(struct router *router, const char *pattern, struct outbox_str text)
{
    if (memchr(text.p, '\0', (size_t)text.n))
        return 0;
    if (text.n + 1 > router->scratch_size) {
        char *grown = realloc(router->scratch, (size_t)text.n + 1);
        if (!grown)
            return OUTBOX_E_RETRY;
        router->scratch = grown;
        router->scratch_size = (size_t)text.n + 1;
    }
    memcpy(router->scratch, text.p, (size_t)text.n);
    router->scratch[text.n] = '\0';
    return fnmatch(pattern, router->scratch, 0) == 0;
}

static int match_holds(struct router *router, const struct route_match *match,
                       const struct outbox_message *msg, struct answer *answer)
{
    const struct subject_row *subject = &route_subjects[match->subject];
    struct outbox_str text = route_subject_text(match->subject, msg, match->name);
    const char *name = match->name ? match->name : "";
    if (!text.p) {
        because(answer, "the message has no %s%s", subject->label, name);
        return 0;
    }
    int r = matches(router, match->pattern, text);
    if (r == 0) {
        char shown[SHOWN_SIZE];
        because(answer, "%s%s `%s` does not match `%s`", subject->label, name,
                show(shown, answer, text), match->pattern);
    }
    return r;
}

static void decide_by_header(const struct route *route, const struct outbox_message *msg,
                             struct answer *answer)
{
    struct outbox_str value = route_subject_text(SUBJECT_HEADER, msg, route->header);
    char shown[SHOWN_SIZE];
    if (!value.p) {
        because(answer, "the message has no header %s", route->header);
        return;
    }
    for (size_t i = 0; i < route->n_targets && !answer->publisher; i++)
        if (outbox_str_eq(value, outbox_cstr(route->targets[i].value)))
            answer->publisher = route->targets[i].publisher;
    because(answer, "header %s is `%s`%s", route->header, show(shown, answer, value),
            answer->publisher ? "" : ", which its map does not know");
}

static int decide_by_rule(const struct router *router, size_t index,
                          const struct outbox_message *msg, struct answer *answer,
                          struct outbox_err *err)
{
    const struct route *route = &router->table->routes[index];
    const struct instance *rule = &router->rules[index];
    struct outbox_decision decision = {.size = sizeof decision};
    int r = GUARD_CALL(rule, rule, route, NULL, err, msg, &decision);
    if (r == OUTBOX_OK && decision.n > 0 && (!decision.publishers || !decision.publishers[0]))
        r = guard_defect(rule, "route", err, "it decided, and named no publisher");
    if (r < 0)
        return OUTBOX_E_CONFIG; /* whatever its class: only our own lack of memory is a retry */
    if (decision.n > 1)
        return outbox_fail(err, OUTBOX_E_NOTSUP,
                           "route %s: rule-%s named %llu publishers; several publishers for one "
                           "message are not supported yet",
                           route->name, route->rule->desc.name, (unsigned long long)decision.n);
    char reason[SHOWN_SIZE];
    because(answer, "%s",
            decision.reason.p ? show(reason, answer, decision.reason)
            : decision.n > 0  ? "its rule decided"
                              : "its rule passed");
    answer->publisher = decision.n > 0 ? decision.publishers[0] : NULL;
    return OUTBOX_OK;
}

static int try_route(struct router *router, size_t index, const struct outbox_message *msg,
                     struct answer *answer, struct outbox_err *err)
{
    const struct route *route = &router->table->routes[index];
    for (size_t i = 0; i < route->n_matches; i++) {
        int r = match_holds(router, &route->matches[i], msg, answer);
        if (r < 0)
            return outbox_fail(err, r, "out of memory while routing");
        if (r == 0)
            return OUTBOX_OK;
    }
    if (route->rule)
        return decide_by_rule(router, index, msg, answer, err);
    if (route->fn) {
        answer->publisher = route->fn(route->fn_ctx, msg);
        because(answer, "its function %s", answer->publisher ? "decided" : "passed");
    } else if (route->header) {
        decide_by_header(route, msg, answer);
    } else {
        answer->publisher = route->publisher;
        because(answer, "all its conditions hold");
    }
    return OUTBOX_OK;
}

/* The file's names were checked when it was read; those of rules and functions come only now. */
static int find_publisher(const struct route_table *table, const struct route *route,
                          const char *name, size_t *ret, struct outbox_err *err)
{
    char shown[SHOWN_SIZE];
    for (size_t i = 0; i < table->n_publishers; i++)
        if (strcmp(table->publishers[i], name) == 0) {
            *ret = i;
            return OUTBOX_OK;
        }
    utf8_printable(name, strlen(name), shown, sizeof shown);
    return outbox_fail(
        err, OUTBOX_E_CONFIG, "route %s: %s%s named the publisher `%s`, which is not configured",
        route ? route->name : "fallback", route && route->rule ? "rule-" : "its function",
        route && route->rule ? route->rule->desc.name : "", shown);
}

static int decide(struct router *router, const struct outbox_message *msg, router_explain explain,
                  void *ctx, const char **ret, const struct route **ret_route,
                  struct outbox_err *err)
{
    const struct route_table *table = router->table;
    for (size_t i = 0; i < table->n_routes; i++) {
        struct answer answer = {.explain = explain != NULL};
        int r = try_route(router, i, msg, &answer, err);
        if (r < 0)
            return r;
        if (explain)
            explain(ctx, &table->routes[i], answer.why);
        if (answer.publisher) {
            *ret = answer.publisher;
            *ret_route = &table->routes[i];
            return OUTBOX_OK;
        }
    }
    if (!table->fallback)
        return outbox_fail(err, OUTBOX_E_NOTSUP,
                           "no route takes this message and [router] has no fallback");
    *ret = table->fallback;
    *ret_route = NULL;
    return OUTBOX_OK;
}

int router_route(struct router *router, const struct outbox_message *msg, router_explain explain,
                 void *ctx, size_t *ret, const struct route **ret_route, struct outbox_err *err)
{
    const char *name;
    int r = decide(router, msg, explain, ctx, &name, ret_route, err);
    return r < 0 ? r : find_publisher(router->table, *ret_route, name, ret, err);
}

int router_decide(const struct route_table *table, const struct outbox_message *msg,
                  router_explain explain, void *ctx, const char **ret,
                  const struct route **ret_route, struct outbox_err *err)
{
    struct router router = {.table = table};
    int r = decide(&router, msg, explain, ctx, ret, ret_route, err);
    free(router.scratch);
    return r;
}
