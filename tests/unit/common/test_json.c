/* SPDX-License-Identifier: Apache-2.0 */
/* What is JSON here does not hang on json-c's version: texts with their verdicts. */
#include "common/json.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH 3

static const struct {
    const char *text;
    int n; /* bytes, or 0: as far as its NUL */
    bool valid;
} texts[] = {
    {"{}", 0, true},
    {" \t\r\n{ \"a\" : 1 , \"b\" : [ 1 , { } ] } \n", 0, true},
    {"[]", 0, true},
    {"null", 0, true},
    {"true", 0, true},
    {"false", 0, true},
    {"\"x\"", 0, true},
    {"{\"customer\":\"M\xc3\xbcller\"}", 0, true}, /* every byte over 0x7F that is UTF-8 */
    {"{\"M\xc3\xbcller\":\"\xf0\x9f\x98\x80\"}", 0, true},
    {"{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00fC\\u0000\\ud83d\\ude00\\ud800\"}", 0, true},
    {"{\"a\":\"line\nbreak\x01\x7f\"}", 0, true}, /* as it stands in a log line */
    {"{\"a\":1,\"a\":2}", 0, true},
    {"[0,-0,1,-1,10,1.5,-0.25,1e5,1E+5,1.5e-3,123456789012345678901234567890,1e999]", 0, true},
    {"[[[]]]", 0, true},
    {"[[[[]]]]", 0, false}, /* too deep */
    {"[[[{}]]]", 0, false},
    {"", 0, false},
    {" ", 0, false},
    {"{", 0, false},
    {"}", 0, false},
    {"{} {}", 0, false}, /* something behind it */
    {"{}x", 0, false},
    {"{},", 0, false},
    {"nullx", 0, false},
    {"{}\0", 3, false},
    {"{\"a\":\"\0\"}", 9, false},
    {"{\"a\":1,}", 0, false},
    {"{,}", 0, false},
    {"[1,]", 0, false},
    {"[,1]", 0, false},
    {"[1 2]", 0, false},
    {"[1}", 0, false},
    {"{\"a\":1]", 0, false},
    {"{\"a\"}", 0, false},
    {"{\"a\":}", 0, false},
    {"{\"a\" 1}", 0, false},
    {"{a:1}", 0, false},
    {"{1:1}", 0, false},
    {"{null:1}", 0, false},
    {"{'a':1}", 0, false}, /* what other readers take */
    {"{\"a\":'b'}", 0, false},
    {"{\"a\":1 /* c */}", 0, false},
    {"{} // c", 0, false},
    {"[NaN]", 0, false},
    {"[Infinity]", 0, false},
    {"[-Infinity]", 0, false},
    {"[nan]", 0, false},
    {"[TRUE]", 0, false},
    {"[None]", 0, false},
    {"[01]", 0, false},
    {"[-01]", 0, false},
    {"[+1]", 0, false},
    {"[1.]", 0, false},
    {"[.5]", 0, false},
    {"[-]", 0, false},
    {"[1e]", 0, false},
    {"[1e+]", 0, false},
    {"[0x10]", 0, false},
    {"[\"\\x41\"]", 0, false},
    {"[\"\\u12\"]", 0, false},
    {"[\"\\u123g\"]", 0, false},
    {"[\"\\'\"]", 0, false},
    {"[\"a", 0, false},
    {"[\"a\\", 0, false},
    {"[\"a\\\"", 0, false},
    {"[\"\xff\"]", 0, false}, /* not UTF-8 */
    {"[\"\xc3\"]", 0, false},
    {"[\"\xed\xa0\x80\"]", 0, false},
    {"\xef\xbb\xbf{}", 0, false}, /* a byte order mark */
    {"{\v}", 0, false},
    {"{\xc2\xa0}", 0, false},
};

/* From memory of just that size, so that a byte too many is seen. */
static char *text_of(int i, size_t *ret_n)
{
    *ret_n = texts[i].n ? (size_t)texts[i].n : strlen(texts[i].text);
    char *text = malloc(*ret_n + (*ret_n == 0));
    ck_assert_ptr_nonnull(text);
    memcpy(text, texts[i].text, *ret_n);
    return text;
}

START_TEST(a_text_is_json_or_not)
{
    size_t n;
    char *text = text_of(_i, &n);
    ck_assert_msg(json_is_valid(text, n, DEPTH) == texts[_i].valid, "`%s`", texts[_i].text);
    free(text);
}
END_TEST

/* Whatever its version. */
START_TEST(json_c_reads_every_object_that_is_valid)
{
    size_t n;
    char *text = text_of(_i, &n);
    struct json_object *object = json_read_object(text, n, DEPTH);
    ck_assert_int_eq(object != NULL, texts[_i].valid && strchr(texts[_i].text, '{'));
    json_object_put(object);
    free(text);
}
END_TEST

START_TEST(only_objects_are_read_as_objects)
{
    ck_assert_ptr_null(json_read_object("[1]", 3, DEPTH));
    ck_assert_ptr_null(json_read_object("null", 4, DEPTH));
    ck_assert_ptr_null(json_read_object("\"{}\"", 4, DEPTH));
}
END_TEST

static const struct {
    const char *json;
    const char *text;
    size_t n;
} scalars[] = {
    {"\"\"", "", 0},
    {"\"M\xc3\xbcller\"", "M\xc3\xbcller", 7},
    {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8},
    {"\"a\\u0000b\"", "a\0b", 3},
    {"\"\\u00fc\\u20AC\\ud83d\\ude00\"", "\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80", 9},
    {"\"\\ud83d\"", "\xef\xbf\xbd", 3}, /* halves of a character */
    {"\"\\ude00\\ud83d!\"", "\xef\xbf\xbd\xef\xbf\xbd!", 7},
    {"\"\\ud83d\\u0041\"",
     "\xef\xbf\xbd"
     "A",
     4},
    {" -1.50e+7 ", "-1.50e+7", 8},
    {"123456789012345678901234567890", "123456789012345678901234567890", 30},
    {"null", "null", 4},
};

START_TEST(a_scalar_has_a_text)
{
    struct json_text t = {scalars[_i].json, scalars[_i].json + strlen(scalars[_i].json)};
    struct json_scalar scalar;
    char out[64];
    ck_assert(json_scalar(&t, &scalar) && json_at_end(&t));
    ck_assert_uint_eq(json_scalar_text(&scalar, out), scalars[_i].n);
    ck_assert_mem_eq(out, scalars[_i].text, scalars[_i].n);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *tc = tcase_create("json");
    int n = sizeof texts / sizeof texts[0];
    tcase_add_loop_test(tc, a_text_is_json_or_not, 0, n);
    tcase_add_loop_test(tc, json_c_reads_every_object_that_is_valid, 0, n);
    tcase_add_test(tc, only_objects_are_read_as_objects);
    tcase_add_loop_test(tc, a_scalar_has_a_text, 0, sizeof scalars / sizeof scalars[0]);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
