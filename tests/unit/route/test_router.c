/* SPDX-License-Identifier: Apache-2.0 */
/* Which publisher a message goes to, and why. */
#include "route/router.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <string.h>

static const char *const names[] = {"events", "jobs", "mail"};
enum { EVENTS, JOBS, MAIL };

static struct route_match invoice = {SUBJECT_TOPIC, NULL, (char[]){"invoice.*"}};
static struct route_match vip[] = {{SUBJECT_KEY, NULL, (char[]){"c-?"}},
                                   {SUBJECT_HEADER, (char[]){"tier"}, (char[]){"gold"}}};
static struct route_target targets[] = {{(char[]){"queue"}, (char[]){"jobs"}},
                                        {(char[]){"mail"}, (char[]){"mail"}}};

static const char *odd_length(void *ctx, const struct outbox_message *msg)
{
    return msg->payload.n % 2 ? *(const char **)ctx : NULL;
}
static const char *odd_goes_to = "mail";

static struct route routes[] = {
    {.name = (char[]){"by-destination"},
     .header = (char[]){"destination"},
     .targets = targets,
     .n_targets = 2},
    {.name = (char[]){"invoices"},
     .publisher = (char[]){"jobs"},
     .matches = &invoice,
     .n_matches = 1},
    {.name = (char[]){"vip"}, .publisher = (char[]){"mail"}, .matches = vip, .n_matches = 2},
    {.name = (char[]){"code"}, .fn = odd_length, .fn_ctx = &odd_goes_to},
};
static struct route_table table = {.routes = routes,
                                   .n_routes = 4,
                                   .fallback = (char[]){"events"},
                                   .publishers = names,
                                   .n_publishers = 3};

static struct outbox_header headers[2];

static struct outbox_message message(const char *topic, const char *key, uint64_t n_headers)
{
    return (struct outbox_message){.size = sizeof(struct outbox_message),
                                   .topic = outbox_cstr(topic),
                                   .key = outbox_cstr(key),
                                   .headers = headers,
                                   .n_headers = n_headers};
}

static size_t route_to(const struct outbox_message *msg, const struct route **ret_route)
{
    struct router *router;
    size_t publisher = ROUTE_NONE;
    struct outbox_err err = {.size = sizeof err};
    ck_assert_int_eq(router_open(&table, NULL, &router, &err), 0);
    int r = router_route(router, msg, NULL, NULL, &publisher, ret_route, &err);
    router_close(router);
    return r == 0 ? publisher : ROUTE_NONE;
}

START_TEST(the_first_route_that_names_a_publisher_wins)
{
    const struct route *by;
    struct outbox_message m = message("invoice.new", "", 0);
    ck_assert_uint_eq(route_to(&m, &by), JOBS);
    ck_assert_str_eq(by->name, "invoices");
    headers[0] = (struct outbox_header){outbox_cstr("destination"), outbox_cstr("mail")};
    m = message("invoice.new", "", 1);
    ck_assert_uint_eq(route_to(&m, &by), MAIL);
    headers[0].value = outbox_cstr("Mail"); /* values compare exactly */
    ck_assert_uint_eq(route_to(&m, &by), JOBS);
    m = message("order", "", 0);
    ck_assert_uint_eq(route_to(&m, &by), EVENTS);
    ck_assert_ptr_null(by);
}
END_TEST

START_TEST(all_conditions_of_a_route_must_hold)
{
    const struct route *by;
    headers[0] = (struct outbox_header){outbox_cstr("tier"), outbox_cstr("gold")};
    struct outbox_message m = message("order", "c-1", 1);
    ck_assert_uint_eq(route_to(&m, &by), MAIL);
    m = message("order", "c-12", 1);
    ck_assert_uint_eq(route_to(&m, &by), EVENTS);
    m = message("order", "c-1", 0);
    ck_assert_uint_eq(route_to(&m, &by), EVENTS);
}
END_TEST

START_TEST(a_function_decides_or_passes)
{
    const struct route *by;
    struct outbox_message m = message("order", "", 0);
    m.payload = outbox_cstr("odd");
    ck_assert_uint_eq(route_to(&m, &by), MAIL);
    m.payload = outbox_cstr("even");
    ck_assert_uint_eq(route_to(&m, &by), EVENTS);
}
END_TEST

START_TEST(without_a_fallback_a_message_may_be_unrouted)
{
    const struct route *by;
    struct outbox_message m = message("order", "", 0);
    char *fallback = table.fallback;
    table.fallback = NULL;
    ck_assert_uint_eq(route_to(&m, &by), ROUTE_NONE);
    table.fallback = fallback;
}
END_TEST

START_TEST(a_text_with_nul_matches_no_pattern)
{
    const struct route *by;
    struct outbox_message m = message("", "", 0);
    m.topic = (struct outbox_str){"invoice.\0x", 10};
    ck_assert_uint_eq(route_to(&m, &by), EVENTS);
}
END_TEST

static void join(void *ctx, const struct route *route, const char *why)
{
    char *all = ctx;
    size_t n = strlen(all);
    snprintf(all + n, 1024 - n, "%s: %s\n", route->name, why);
}

START_TEST(the_reasons_are_told)
{
    struct router *router;
    const struct route *by;
    size_t publisher;
    char all[1024] = "";
    headers[0] = (struct outbox_header){outbox_cstr("destination"), outbox_cstr("nowhere\n")};
    struct outbox_message m = message("order", "c-1", 1);
    ck_assert_int_eq(router_open(&table, NULL, &router, NULL), 0);
    ck_assert_int_eq(router_route(router, &m, join, all, &publisher, &by, NULL), 0);
    router_close(router);
    ck_assert_str_eq(all, "by-destination: header destination is `nowhere\\n`, which its map does "
                          "not know\n"
                          "invoices: topic `order` does not match `invoice.*`\n"
                          "vip: the message has no header tier\n"
                          "code: its function passed\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("router");
    TCase *tc = tcase_create("router");
    tcase_add_test(tc, the_first_route_that_names_a_publisher_wins);
    tcase_add_test(tc, all_conditions_of_a_route_must_hold);
    tcase_add_test(tc, a_function_decides_or_passes);
    tcase_add_test(tc, without_a_fallback_a_message_may_be_unrouted);
    tcase_add_test(tc, a_text_with_nul_matches_no_pattern);
    tcase_add_test(tc, the_reasons_are_told);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
