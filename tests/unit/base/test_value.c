/* SPDX-License-Identifier: Apache-2.0 */
/* One value of the configuration: comments, quotes, variables, types. */
#include "base/suggest.h"
#include "base/value.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *raw;
    const char *value;
} unquoted[] = {
    {"plain", "plain"},
    {"  blanks around \t", "blanks around"},
    {"value ; comment", "value"},
    {"value # comment", "value"},
    {" ; only a comment", ""},
    {"\t# only a comment", ""},
    {";no comment", ";no comment"},
    {"#1 priority ; comment", "#1 priority"},
    {"a;b#c", "a;b#c"},
    {"\"in ; quotes\"", "in ; quotes"},
    {"\"in ; quotes\" # comment", "in ; quotes"},
    {"\"a \\\"b\\\" \\\\ c\"", "a \"b\" \\ c"},
    {"\"keeps \\n as it is\"", "keeps \\n as it is"},
    {"\"first\" second", "\"first\" second"},
    {"first \"second ; third\" ; comment", "first \"second ; third\""},
    {"\"a\" \"b\"", "\"a\" \"b\""},
    {"five\" pipe", "five\" pipe"},
    {"", ""},
    {"\"\"", ""},
};

START_TEST(comments_and_outer_quotes_are_taken_away)
{
    char *value = value_unquote(unquoted[_i].raw);
    ck_assert_str_eq(value, unquoted[_i].value);
    free(value);
}
END_TEST

START_TEST(a_long_value_is_kept_whole)
{
    char raw[20001];
    memset(raw, 'x', sizeof raw - 1);
    raw[sizeof raw - 1] = '\0';
    char *value = value_unquote(raw);
    ck_assert_uint_eq(strlen(value), sizeof raw - 1);
    free(value);
}
END_TEST

START_TEST(variables_are_replaced_once)
{
    char *text = NULL;
    setenv("OUTBOX_UNIT", "${HOME} ; x", 1);
    ck_assert_int_eq(value_expand("a ${OUTBOX_UNIT} $${OUTBOX_UNIT} $x", &text, NULL), 0);
    ck_assert_str_eq(text, "a ${HOME} ; x ${OUTBOX_UNIT} $x");
    free(text);
}
END_TEST

static const char *const bad_variables[] = {
    "${OUTBOX_UNIT_UNSET}", "${", "${}", "${A B}", "${1A}", "x${OPEN"};

START_TEST(a_variable_that_is_not_set_is_a_mistake)
{
    struct outbox_err err = {.size = sizeof err};
    char *text = NULL;
    unsetenv("OUTBOX_UNIT_UNSET");
    ck_assert_int_eq(value_expand(bad_variables[_i], &text, &err), OUTBOX_E_CONFIG);
    ck_assert_uint_gt(strlen(err.text), 10);
}
END_TEST

START_TEST(a_command_is_split_before_anything_is_replaced)
{
    struct value_items items;
    setenv("OUTBOX_UNIT", "two words", 1);
    ck_assert_int_eq(value_argv("/bin/x \"a b\"c ${OUTBOX_UNIT} \"\" \"q\\\"\"", &items, NULL), 0);
    ck_assert_uint_eq(items.n, 5);
    ck_assert_str_eq(items.items[0], "/bin/x");
    ck_assert_str_eq(items.items[1], "a bc");
    ck_assert_str_eq(items.items[2], "two words");
    ck_assert_str_eq(items.items[3], "");
    ck_assert_str_eq(items.items[4], "q\"");
    value_items_free(&items);
    ck_assert_int_eq(value_argv("/bin/x \"open", &items, NULL), OUTBOX_E_CONFIG);
    ck_assert_int_eq(value_argv("   ", &items, NULL), OUTBOX_E_CONFIG);
}
END_TEST

START_TEST(a_list_is_split_at_commas)
{
    struct value_items items;
    ck_assert_int_eq(value_list(" a,b , c ", &items, NULL), 0);
    ck_assert_uint_eq(items.n, 3);
    ck_assert_str_eq(items.items[2], "c");
    value_items_free(&items);
    ck_assert_int_eq(value_list("", &items, NULL), 0);
    ck_assert_uint_eq(items.n, 0);
    ck_assert_int_eq(value_list("a,,b", &items, NULL), OUTBOX_E_CONFIG);
    ck_assert_int_eq(value_list("a,", &items, NULL), OUTBOX_E_CONFIG);
}
END_TEST

static const struct {
    const char *text;
    int64_t ms;
} durations[] = {{"250ms", 250},
                 {"10s", 10000},
                 {"5m", 300000},
                 {"2h", 7200000},
                 {"1d", 86400000},
                 {"0", 0},
                 {"never", OUTBOX_NEVER},
                 {"10", -1},
                 {"-1s", -1},
                 {"1.5s", -1},
                 {"1 s", -1},
                 {"s", -1},
                 {"", -1},
                 {"1S", -1},
                 {"9223372036854775807d", -1},
                 {"99999999999999999999s", -1}};

START_TEST(durations_have_units)
{
    int64_t ms = -1;
    int r = value_duration(durations[_i].text, &ms, NULL);
    ck_assert_int_eq(r, durations[_i].ms < 0 ? OUTBOX_E_CONFIG : 0);
    if (r == 0)
        ck_assert_int_eq(ms, durations[_i].ms);
}
END_TEST

START_TEST(sizes_count_in_1024)
{
    int64_t n;
    ck_assert_int_eq(value_size("512", &n, NULL), 0);
    ck_assert_int_eq(n, 512);
    ck_assert_int_eq(value_size("64K", &n, NULL), 0);
    ck_assert_int_eq(n, 65536);
    ck_assert_int_eq(value_size("2G", &n, NULL), 0);
    ck_assert_int_eq(n, INT64_C(2) << 30);
    ck_assert_int_eq(value_size("1T", &n, NULL), OUTBOX_E_CONFIG);
    ck_assert_int_eq(value_size("-1", &n, NULL), OUTBOX_E_CONFIG);
    ck_assert_int_eq(value_size("9223372036854775807G", &n, NULL), OUTBOX_E_CONFIG);
}
END_TEST

START_TEST(booleans_and_integers)
{
    int64_t n;
    ck_assert_int_eq(value_bool("Yes", &n, NULL), 0);
    ck_assert_int_eq(n, 1);
    ck_assert_int_eq(value_bool("off", &n, NULL), 0);
    ck_assert_int_eq(n, 0);
    ck_assert_int_eq(value_bool("maybe", &n, NULL), OUTBOX_E_CONFIG);
    ck_assert_int_eq(value_int("-12", &n, NULL), 0);
    ck_assert_int_eq(n, -12);
    ck_assert_int_eq(value_int("0x10", &n, NULL), OUTBOX_E_CONFIG);
    ck_assert_int_eq(value_int("99999999999999999999", &n, NULL), OUTBOX_E_CONFIG);
}
END_TEST

START_TEST(what_is_shown_can_be_read_again)
{
    struct value_text text;
    ck_assert_str_eq(value_show_duration(90000, &text), "90s");
    ck_assert_str_eq(value_show_duration(86400000, &text), "1d");
    ck_assert_str_eq(value_show_duration(OUTBOX_NEVER, &text), "never");
    ck_assert_str_eq(value_show_duration(0, &text), "0");
    ck_assert_str_eq(value_show_size(65536, &text), "64K");
    ck_assert_str_eq(value_show_size(0, &text), "0");
    ck_assert_str_eq(value_show_size(1000, &text), "1000");
}
END_TEST

START_TEST(the_nearest_name_is_found_and_far_ones_are_not)
{
    struct suggest nearest = suggest_for("batchsize");
    suggest_try(&nearest, "workers");
    suggest_try(&nearest, "batch_size");
    suggest_try(&nearest, "batch_bytes");
    ck_assert_str_eq(suggest_hint(&nearest), "; did you mean `batch_size`?");
    nearest = suggest_for("Retry-Min");
    suggest_try(&nearest, "retry_min");
    ck_assert_str_eq(nearest.best, "retry_min");
    nearest = suggest_for("xyz");
    suggest_try(&nearest, "workers");
    ck_assert_str_eq(suggest_hint(&nearest), "");
}
END_TEST

static const struct {
    const char *text;
    bool holds;
} with_password[] = {
    {"amqp://b, amqp://u:p@c", true},
    {"host=db user=shop password=x", true},
    {"host=db PassWord = 'x y'", true},
    {"sslpassword=x host=db", true},
    {"postgresql://shop:x@db/shop", true},
    {"postgresql://db/shop?user=u&password=x", true},
    {"amqps://relay:x@one,two:5671/shop", true},
    {"amqp://relay:a@b@host/", true},
    {"host=db user=shop", false},
    {"host=db password=", false},
    {"host=db password=${SECRET}", false},
    {"postgresql://shop@db:5432/shop", false},
    {"postgresql://shop:@db/shop", false},
    {"postgresql://shop:${SECRET}@db/shop", false},
    {"postgresql://db/shop?password=&user=u", false},
    {"passfile=/etc/outboxd/pgpass", false},
    {"service=password", false},
    {"amqp://host/v:host@x", false},
    {"", false},
};

START_TEST(a_password_within_a_connection_string_is_noticed)
{
    ck_assert_int_eq(value_holds_password(with_password[_i].text), with_password[_i].holds);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("value");
    TCase *tc = tcase_create("value");
    tcase_add_loop_test(tc, comments_and_outer_quotes_are_taken_away, 0,
                        sizeof unquoted / sizeof unquoted[0]);
    tcase_add_test(tc, a_long_value_is_kept_whole);
    tcase_add_test(tc, variables_are_replaced_once);
    tcase_add_loop_test(tc, a_variable_that_is_not_set_is_a_mistake, 0,
                        sizeof bad_variables / sizeof bad_variables[0]);
    tcase_add_test(tc, a_command_is_split_before_anything_is_replaced);
    tcase_add_test(tc, a_list_is_split_at_commas);
    tcase_add_loop_test(tc, durations_have_units, 0, sizeof durations / sizeof durations[0]);
    tcase_add_test(tc, sizes_count_in_1024);
    tcase_add_test(tc, booleans_and_integers);
    tcase_add_test(tc, what_is_shown_can_be_read_again);
    tcase_add_test(tc, the_nearest_name_is_found_and_far_ones_are_not);
    tcase_add_loop_test(tc, a_password_within_a_connection_string_is_noticed, 0,
                        sizeof with_password / sizeof with_password[0]);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
