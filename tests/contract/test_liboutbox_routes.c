/* SPDX-License-Identifier: Apache-2.0 */
/* Routers in an application: asked without a relay, nested, and left out. */
#include "embedding.h"
#include "unit.h"

#include <outbox/helpers.h>

static const struct outbox_setting kinds[] = {{"urgent", "push"}, {NULL, NULL}};
static const char *const destinations[] = {"mail", "push"};

static const char *keyless(void *ctx, const struct outbox_message *message)
{
    return message->key.n == 0 ? ctx : NULL;
}

/* A message with one header. */
static struct outbox_message a_message(const char *key, struct outbox_header *header)
{
    return (struct outbox_message){.size = sizeof(struct outbox_message),
                                   .topic = outbox_cstr("t"),
                                   .key = outbox_cstr(key),
                                   .headers = header,
                                   .n_headers = header ? 1 : 0};
}

static struct outbox_router *the_router(void)
{
    struct outbox_router *router = outbox_router_new();
    app_ok(outbox_router_add_function(router, keyless, (void *)(uintptr_t) "archive"));
    app_ok(outbox_router_add_header_map(router, "kind", kinds));
    app_ok(outbox_router_add_destination(router, "destination", destinations, 2));
    return router;
}

/* Where the message goes, by which route. */
static void goes_to(const struct outbox_router *router, struct outbox_message message,
                    const char *publisher, uint32_t route)
{
    struct outbox_resolved resolved = {.size = sizeof resolved};
    app_ok(outbox_router_resolve(router, &message, &resolved, &app_err));
    ck_assert_str_eq(resolved.publisher, publisher);
    ck_assert_uint_eq(resolved.route, route);
    ck_assert_str_eq(outbox_router_ask((void *)(uintptr_t)router, &message), publisher);
}

START_TEST(a_router_is_asked_without_a_relay)
{
    struct outbox_router *router = the_router();
    struct outbox_header urgent = {outbox_cstr("kind"), outbox_cstr("urgent")};
    struct outbox_header mail = {outbox_cstr("destination"), outbox_cstr("mail")};
    goes_to(router, a_message("", NULL), "archive", 1);
    goes_to(router, a_message("k", &urgent), "push", 2);
    goes_to(router, a_message("k", &mail), "mail", 3);
    outbox_router_free(router);
}
END_TEST

START_TEST(it_tells_why)
{
    struct outbox_router *router = the_router();
    struct outbox_header slow = {outbox_cstr("kind"), outbox_cstr("slow")};
    struct outbox_message message = a_message("k", &slow);
    struct outbox_resolved resolved = {.size = sizeof resolved};
    ck_assert_int_eq(outbox_router_resolve(router, &message, &resolved, &app_err), OUTBOX_E_NOTSUP);
    ck_assert_msg(strstr(app_err.text, "no route takes this message") &&
                      strstr(app_err.text, "route-2: header kind is `slow`, which its map") &&
                      strstr(app_err.text, "route-3: the message has no header destination"),
                  "%s", app_err.text);
    ck_assert_ptr_null(outbox_router_ask(router, &message));
    app_ok(outbox_router_set_fallback(router, "rest"));
    app_ok(outbox_router_resolve(router, &message, &resolved, &app_err));
    ck_assert_str_eq(resolved.publisher, "rest");
    ck_assert_uint_eq(resolved.route, 0);
    ck_assert_msg(strstr(resolved.why, "the fallback takes the rest") != NULL, "%s", resolved.why);
    resolved.size = 0;
    app_refused(outbox_router_resolve(router, &message, &resolved, &app_err), "has no size");
    outbox_router_free(router);
}
END_TEST

START_TEST(a_router_holds_the_routes_of_another)
{
    struct outbox_router *inner = the_router(), *outer = outbox_router_new();
    struct outbox_header urgent = {outbox_cstr("kind"), outbox_cstr("urgent")};
    app_ok(outbox_router_set_fallback(inner, "inner"));
    app_ok(outbox_router_add_router(outer, inner));
    outbox_router_free(inner);
    app_ok(outbox_router_set_fallback(outer, "outer"));
    goes_to(outer, a_message("k", &urgent), "push", 2);
    goes_to(outer, a_message("k", NULL), "inner", 4);
    app_ok(outbox_router_add_router(outer, outer)); /* each route twice */
    goes_to(outer, a_message("k", NULL), "inner", 4);
    outbox_router_free(outer);
}
END_TEST

START_TEST(a_route_asks_another_router)
{
    struct outbox_router *inner = the_router(), *outer = outbox_router_new();
    struct outbox_header urgent = {outbox_cstr("kind"), outbox_cstr("urgent")};
    app_ok(outbox_router_add_function(outer, outbox_router_ask, inner));
    app_ok(outbox_router_set_fallback(outer, "outer"));
    goes_to(outer, a_message("k", &urgent), "push", 1);
    goes_to(outer, a_message("k", NULL), "outer", 0);
    outbox_router_free(outer);
    outbox_router_free(inner);
}
END_TEST

START_TEST(what_a_nested_router_names_is_checked)
{
    struct outbox_router *inner = outbox_router_new(), *outer = outbox_router_new();
    struct outbox_relay *relay;
    app_ok(outbox_router_set_fallback(inner, "nowhere"));
    app_ok(outbox_router_add_router(outer, inner));
    app_ok(outbox_relay_new(NULL, &relay, &app_err));
    app_ok(outbox_relay_add_function(relay, "here", app_deliver, &app_publisher, &app_err));
    app_refused(outbox_relay_set_router(relay, outer, &app_err), "`nowhere`");
    outbox_router_free(outer);
    outbox_router_free(inner);
    outbox_relay_free(relay);
}
END_TEST

/* What a program that does not look at each result is told in the end. */
START_TEST(a_router_that_there_is_not_is_no_memory)
{
    struct outbox_relay *relay;
    ck_assert_int_eq(outbox_router_add_function(NULL, keyless, NULL), OUTBOX_E_RETRY);
    ck_assert_int_eq(outbox_router_add_header_map(NULL, "kind", kinds), OUTBOX_E_RETRY);
    ck_assert_int_eq(outbox_router_add_destination(NULL, "d", destinations, 2), OUTBOX_E_RETRY);
    ck_assert_int_eq(outbox_router_add_router(NULL, NULL), OUTBOX_E_RETRY);
    ck_assert_int_eq(outbox_router_set_fallback(NULL, "here"), OUTBOX_E_RETRY);
    app_ok(outbox_relay_new(NULL, &relay, &app_err));
    ck_assert_int_eq(outbox_relay_set_router(relay, NULL, &app_err), OUTBOX_E_RETRY);
    outbox_relay_free(relay);
}
END_TEST

START_TEST(one_publisher_needs_no_router)
{
    struct outbox_relay *relay;
    app_send(0);
    app_ok(outbox_relay_new(NULL, &relay, &app_err));
    app_ok(outbox_relay_set_store(relay, app_plugin_dir(), "sqlite", app_settings, &app_err));
    app_ok(outbox_relay_add_function(relay, "here", app_deliver, &app_publisher, &app_err));
    app_ok(outbox_relay_run_once(relay, 1000, NULL, &app_err));
    ck_assert_uint_eq(app_counts(relay).accepted, 1);
    app_refused(outbox_relay_add_function(relay, "late", app_deliver, NULL, &app_err),
                "before the router and the first start");
    outbox_relay_free(relay);
}
END_TEST

START_TEST(two_publishers_need_one)
{
    struct outbox_relay *relay;
    app_ok(outbox_relay_new(NULL, &relay, &app_err));
    app_ok(outbox_relay_set_store(relay, app_plugin_dir(), "sqlite", app_settings, &app_err));
    app_ok(outbox_relay_add_function(relay, "here", app_deliver, &app_publisher, &app_err));
    app_ok(outbox_relay_add_function(relay, "there", app_deliver, &app_publisher, &app_err));
    app_refused(outbox_relay_start(relay, &app_err), "several publishers needs a router");
    outbox_relay_free(relay);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("liboutbox_routes");
    TCase *tc = tcase_create("liboutbox_routes");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, app_set_up, app_tear_down);
    tcase_add_test(tc, a_router_is_asked_without_a_relay);
    tcase_add_test(tc, it_tells_why);
    tcase_add_test(tc, a_router_holds_the_routes_of_another);
    tcase_add_test(tc, a_route_asks_another_router);
    tcase_add_test(tc, what_a_nested_router_names_is_checked);
    tcase_add_test(tc, a_router_that_there_is_not_is_no_memory);
    tcase_add_test(tc, one_publisher_needs_no_router);
    tcase_add_test(tc, two_publishers_need_one);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
