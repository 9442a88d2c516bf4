/* SPDX-License-Identifier: Apache-2.0 */
/* The headers column, read leniently and written strictly; messages as JSON. */
#include "common/headers.h"
#include "common/message_json.h"
#include "common/rfc3339.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <string.h>

#define MAX 6

static const struct {
    const char *json;
    int n; /* headers, or -1: a defect */
} forms[] = {
    {NULL, 0},
    {"", 0},
    {"null", 0},
    {" null ", 0},
    {"{}", 0},
    {" { } ", 0},
    {"{\"a\":\"b\"}", 1},
    {"{\"a\":1,\"b\":true,\"c\":null,\"d\":1.50}", 4},
    {"{\"a\":\"1\",\"a\":\"2\"}", 1},
    {"{\"a\":{}}", 1},
    {"{\"a\":[1]}", 1},
    {"{\"a\":[[[[[[[[1]]]]]]]]}", 1},
    {"{\"a\":[[[[[[[[[1]]]]]]]]]}", -1}, /* more levels than are read */
    {"{\"a\":[1}", -1},
    {"{\"a\":[1]]}", -1},
    {"{\"a\":[1,]}", -1},
    {"{\"a\":[\"\xff\"]}", -1},
    {"[]", 0},
    {" [ ] ", 0},
    {"[] []", -1},
    {"[1]", -1},
    {"[{}]", -1},
    {"null null", -1},
    {"nul", -1},
    {" ", -1},
    {"{\"customer\":\"M\xc3\xbcller\"}", 1},
    {"{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6}", 6},
    {"{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7}", -1}, /* more than MAX */
    {"{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7 and what follows is not read", -1},
    {"{\"a\":1,}", -1},
    {"{,}", -1},
    {"{\"a\" 1}", -1},
    {"{1:1}", -1},
    {"{\"a\":NaN}", -1},
    {"{\"a\":01}", -1},
    {"{} {}", -1},
    {"{\"a\":1}}", -1},
    {"{\"a\":\"1\n2\"}", 1},
    {"1", -1},
    {"\"x\"", -1},
    {"{\"a\":", -1},
    {"{'a':'b'}", -1},
    {"{\"a\":\"b\"} x", -1},
    {"{\"a\":\"\xff\"}", -1},
    {"{\"a\\u0000b\":\"1\"}", -1}, /* a name with a NUL is no name */
    {"{\"a\":\"1\",\"a\\u0000\" :\"2\"}", -1},
    {"{\"a\\\\u0000b\":\"1\",\"c\":\"\\u0000\"}", 2},
    {"{\"a\":\"\\u0000\\\"\",\"b\":\":\"}", 2},
    {"junk", -1}};

START_TEST(headers_are_read_leniently)
{
    struct arena arena = ARENA_INIT(0);
    const struct outbox_header *headers = NULL;
    uint64_t n = 99;
    struct outbox_str why = {NULL, 0};
    const char *json = forms[_i].json;
    int r = headers_parse(json, json ? strlen(json) : 0, MAX, &arena, &headers, &n, &why);
    ck_assert_int_eq(r, forms[_i].n < 0 ? 1 : 0);
    if (r == 0)
        ck_assert_uint_eq(n, (unsigned)forms[_i].n);
    else
        ck_assert_ptr_nonnull(why.p);
    arena_free(&arena);
}
END_TEST

START_TEST(numbers_keep_their_text)
{
    struct arena arena = ARENA_INIT(0);
    const struct outbox_header *headers;
    uint64_t n;
    struct outbox_str why;
    static const char json[] =
        "{\"big\":18446744073709551615,\"frac\":1.50,\"yes\":true,"
        "\"huge\":123456789012345678901234567890 ,\"low\":-9223372036854775809,"
        "\"text\":\"\\\"18446744073709551616\"}";
    ck_assert_int_eq(headers_parse(json, sizeof json - 1, MAX, &arena, &headers, &n, &why), 0);
    ck_assert_str_eq(headers[0].value.p, "18446744073709551615");
    ck_assert_str_eq(headers[1].value.p, "1.50");
    ck_assert_str_eq(headers[2].value.p, "true");
    ck_assert_str_eq(headers[3].value.p, "123456789012345678901234567890");
    ck_assert_str_eq(headers[4].value.p, "-9223372036854775809");
    ck_assert_str_eq(headers[5].value.p, "\"18446744073709551616");
    arena_free(&arena);
}
END_TEST

START_TEST(lists_and_objects_keep_their_json)
{
    struct arena arena = ARENA_INIT(0);
    const struct outbox_header *headers;
    uint64_t n;
    struct outbox_str why;
    static const char json[] =
        "{\"keys\": [ \"a\\u0020b\", 2] ,\"o\":{\"x\":[]},\"s\":\"[\",\"keys\":[]}";
    ck_assert_int_eq(headers_parse(json, sizeof json - 1, MAX, &arena, &headers, &n, &why), 0);
    ck_assert_uint_eq(n, 3);
    ck_assert_str_eq(headers[0].value.p, "[]"); /* the last one */
    ck_assert_str_eq(headers[1].value.p, "{\"x\":[]}");
    ck_assert_str_eq(headers[2].value.p, "[");
    static const char first[] = "{\"keys\": [\n  \"a\\u0020b \\\" c\",\t2] }";
    ck_assert_int_eq(headers_parse(first, sizeof first - 1, MAX, &arena, &headers, &n, &why), 0);
    ck_assert_str_eq(headers[0].value.p, "[\"a\\u0020b \\\" c\",2]"); /* no end of a line */
    ck_assert_uint_eq(headers[0].value.n, strlen(headers[0].value.p));
    arena_free(&arena);
}
END_TEST

/* In the order of their first places. */
START_TEST(a_repeated_name_keeps_its_last_value)
{
    struct arena arena = ARENA_INIT(0);
    const struct outbox_header *headers;
    uint64_t n;
    struct outbox_str why;
    static const char json[] = "{\"b\":1,\"a\":2,\"b\":3,\"\\u0062\":\"last\"}";
    ck_assert_int_eq(headers_parse(json, sizeof json - 1, MAX, &arena, &headers, &n, &why), 0);
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(headers[0].name.p, "b");
    ck_assert_str_eq(headers[0].value.p, "last");
    ck_assert_str_eq(headers[1].name.p, "a");
    arena_free(&arena);
}
END_TEST

START_TEST(too_many_headers_name_the_setting)
{
    struct arena arena = ARENA_INIT(0);
    const struct outbox_header *headers;
    uint64_t n;
    struct outbox_str why;
    static const char json[] = "{\"a\":1,\"b\":2}";
    ck_assert_int_eq(headers_parse(json, sizeof json - 1, 1, &arena, &headers, &n, &why), 1);
    ck_assert_str_eq(why.p, "headers: more of them than max_headers (1)");
    ck_assert_ptr_null(headers);
    ck_assert_uint_eq(n, 0);
    arena_free(&arena);
}
END_TEST

START_TEST(headers_are_written_as_an_object)
{
    struct outbox_header two[] = {{outbox_cstr("a/b"), outbox_cstr("x \"y\" \n")},
                                  {outbox_cstr("c"), outbox_cstr("")}};
    char *json;
    ck_assert_int_eq(headers_render(two, 2, &json), 0);
    ck_assert_str_eq(json, "{\"a/b\":\"x \\\"y\\\" \\n\",\"c\":\"\"}");
    free(json);
    two[0].value = outbox_cstr("\xff");
    ck_assert_int_eq(headers_render(two, 2, &json), 1);
    ck_assert_ptr_null(json);
}
END_TEST

START_TEST(a_message_becomes_a_line_of_json)
{
    struct outbox_header header = {outbox_cstr("h"), outbox_cstr("v")};
    struct outbox_message m = {.size = sizeof m,
                               .retries = 2,
                               .created_us = INT64_C(1700000000123456),
                               .id = outbox_cstr("i"),
                               .topic = outbox_cstr("t"),
                               .key = outbox_cstr(""),
                               .payload = outbox_cstr("p"),
                               .headers = &header,
                               .n_headers = 1};
    const char *text;
    size_t n;
    struct json_object *o = message_json(&m, &text, &n);
    ck_assert_uint_eq(strlen(text), n);
    ck_assert_str_eq(text, "{\"id\":\"i\",\"topic\":\"t\",\"key\":\"\",\"headers\":{\"h\":\"v\"},"
                           "\"payload\":\"p\",\"retries\":2,"
                           "\"created_at\":\"2023-11-14T22:13:20.123456Z\"}");
    json_object_put(o);
}
END_TEST

START_TEST(a_line_is_whole_whatever_has_to_be_escaped)
{
    char all[0x80 + 6];
    size_t n = 0, text_n;
    const char *text;
    for (int c = 1; c <= 0x7f; c++)
        all[n++] = (char)c;
    memcpy(all + n, "\xc3\xbc\xe2\x82\xac", 6);
    struct outbox_str every = {all, n + 5};
    struct outbox_header header = {every, every};
    struct outbox_message m = {.size = sizeof m,
                               .retries = UINT32_MAX,
                               .created_us = 1,
                               .id = every,
                               .topic = every,
                               .key = every,
                               .payload = every,
                               .headers = &header,
                               .n_headers = 1};
    struct json_object *o = message_json(&m, &text, &text_n);
    ck_assert_ptr_nonnull(o);
    ck_assert_uint_eq(strlen(text), text_n);
    json_object_put(o);
}
END_TEST

/* NUL is legal in JSON; what is not UTF-8 is refused, not changed. */
START_TEST(json_says_what_the_message_has_or_why_it_cannot)
{
    struct outbox_header header = {outbox_cstr("h"), {"x\0y", 3}};
    struct outbox_message m = {.size = sizeof m,
                               .id = outbox_cstr("i"),
                               .topic = {"a\0b", 3},
                               .key = outbox_cstr("\xc3\xbc"),
                               .payload = {"\xff", 1},
                               .headers = &header,
                               .n_headers = 1};
    const char *text;
    size_t n;
    ck_assert_ptr_null(message_json_defect(&m));
    struct json_object *o = message_json(&m, &text, &n);
    ck_assert_ptr_nonnull(strstr(text, "\"topic\":\"a\\u0000b\",\"key\":\"\xc3\xbc\""));
    ck_assert_ptr_nonnull(strstr(text, "{\"h\":\"x\\u0000y\"}"));
    json_object_put(o);
    header.value = outbox_cstr("\xff");
    ck_assert_ptr_nonnull(strstr(message_json_defect(&m), "header"));
    header.value = outbox_cstr("");
    m.topic = outbox_cstr("t\xfft");
    ck_assert_ptr_nonnull(strstr(message_json_defect(&m), "topic"));
}
END_TEST

static const struct {
    struct outbox_str payload;
    const char *json;
} payloads[] = {{{NULL, 0}, "{\"payload\":null}"},
                {{"", 0}, "{\"payload\":\"\"}"},
                {{"\xff", 1}, "{\"payload_base64\":\"/w==\"}"},
                {{"a\0b", 3}, "{\"payload_base64\":\"YQBi\"}"},
                {{"\xff\xfe", 2}, "{\"payload_base64\":\"//4=\"}"},
                {{"gr\xc3\xbc\xc3\x9f", 6}, "{\"payload\":\"gr\xc3\xbc\xc3\x9f\"}"}};

START_TEST(payloads_are_text_where_they_can_be)
{
    struct json_object *o = json_object_new_object();
    ck_assert_int_eq(json_add_payload(o, payloads[_i].payload), 0);
    ck_assert_str_eq(
        json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
        payloads[_i].json);
    json_object_put(o);
}
END_TEST

START_TEST(times_have_microseconds_and_stay_in_range)
{
    char out[RFC3339_SIZE];
    ck_assert_str_eq(rfc3339_format(0, out), "1970-01-01T00:00:00.000000Z");
    ck_assert_str_eq(rfc3339_format(-1, out), "1969-12-31T23:59:59.999999Z");
    ck_assert_uint_eq(strlen(rfc3339_format(INT64_MAX, out)), 27);
    ck_assert_uint_eq(strlen(rfc3339_format(INT64_MIN, out)), 27);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("headers");
    TCase *tc = tcase_create("headers");
    tcase_add_loop_test(tc, headers_are_read_leniently, 0, sizeof forms / sizeof forms[0]);
    tcase_add_test(tc, numbers_keep_their_text);
    tcase_add_test(tc, lists_and_objects_keep_their_json);
    tcase_add_test(tc, a_repeated_name_keeps_its_last_value);
    tcase_add_test(tc, too_many_headers_name_the_setting);
    tcase_add_test(tc, headers_are_written_as_an_object);
    tcase_add_test(tc, a_message_becomes_a_line_of_json);
    tcase_add_test(tc, a_line_is_whole_whatever_has_to_be_escaped);
    tcase_add_test(tc, json_says_what_the_message_has_or_why_it_cannot);
    tcase_add_loop_test(tc, payloads_are_text_where_they_can_be, 0,
                        sizeof payloads / sizeof payloads[0]);
    tcase_add_test(tc, times_have_microseconds_and_stay_in_range);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
