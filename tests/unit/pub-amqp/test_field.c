/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: the text of a header as a field of AMQP, whatever its JSON is. */
#include "publish/field.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- a field as text: i:1 d:0.5 b:1 v s:text [...] {name=...} ---- */

static char shown[4096];

static void show(const amqp_field_value_t *f);

static void add(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void add(const char *fmt, ...)
{
    size_t n = strlen(shown);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(shown + n, sizeof shown - n, fmt, ap);
    va_end(ap);
}

static void show_table(const amqp_table_t *table)
{
    add("{");
    for (int i = 0; i < table->num_entries; i++) {
        add("%s%.*s=", i > 0 ? "," : "", (int)table->entries[i].key.len,
            (char *)table->entries[i].key.bytes);
        show(&table->entries[i].value);
    }
    add("}");
}

static void show(const amqp_field_value_t *f)
{
    if (f->kind == AMQP_FIELD_KIND_I64)
        add("i:%lld", (long long)f->value.i64);
    else if (f->kind == AMQP_FIELD_KIND_F64)
        add("d:%g", f->value.f64);
    else if (f->kind == AMQP_FIELD_KIND_BOOLEAN)
        add("b:%d", f->value.boolean);
    else if (f->kind == AMQP_FIELD_KIND_VOID)
        add("v");
    else if (f->kind == AMQP_FIELD_KIND_UTF8)
        add("s:%.*s", (int)f->value.bytes.len, (char *)f->value.bytes.bytes);
    else if (f->kind == AMQP_FIELD_KIND_TABLE)
        show_table(&f->value.table);
    else {
        ck_assert_int_eq(f->kind, AMQP_FIELD_KIND_ARRAY);
        add("[");
        for (int i = 0; i < f->value.array.num_entries; i++) {
            add("%s", i > 0 ? "," : "");
            show(&f->value.array.entries[i]);
        }
        add("]");
    }
}

static const char *field_of(const char *text)
{
    struct arena arena = ARENA_INIT(0);
    struct outbox_err err = {.size = sizeof err};
    amqp_field_value_t field = {0};
    shown[0] = '\0';
    if (field_read_json(outbox_cstr(text), &arena, &field, &err) < 0)
        add("%s", err.text);
    else
        show(&field);
    arena_free(&arena);
    return shown;
}

static const struct {
    const char *text, *field;
} texts[] = {
    {"5000", "i:5000"},
    {"-1", "i:-1"},
    {"0", "i:0"},
    {"9223372036854775807", "i:9223372036854775807"},
    {"-9223372036854775808", "i:-9223372036854775808"},
    {"9223372036854775808", "s:9223372036854775808"}, /* no digit is lost */
    {"1.5", "d:1.5"},
    {"5e3", "d:5000"},
    {"1E400", "s:1E400"},
    {" 7 ", "i:7"},
    {"true", "b:1"},
    {"false", "b:0"},
    {"null", "v"},
    {"\"5000\"", "s:5000"},
    {"\"a\\u00e9\\n\"", "s:a\xc3\xa9\n"},
    {"\"\"", "s:"},
    {"[]", "[]"},
    {"{}", "{}"},
    {"[\"a\",\"b\"]", "[s:a,s:b]"},
    {"[1,2,3,4,5,6,7,8,9]", "[i:1,i:2,i:3,i:4,i:5,i:6,i:7,i:8,i:9]"},
    {" [ 1 , [ null ] , {\"a\" : [true], \"\\u0062\":{}} ] ", "[i:1,[v],{a=[b:1],b={}}]"},
    {"[9223372036854775808]", "[s:9223372036854775808]"},
    /* no JSON */
    {"", "s:"},
    {" ", "s: "},
    {"t1", "s:t1"},
    {"007", "s:007"},
    {"+1", "s:+1"},
    {"1.", "s:1."},
    {".5", "s:.5"},
    {"0x10", "s:0x10"},
    {"NaN", "s:NaN"},
    {"nothing", "s:nothing"},
    {"5 kg", "s:5 kg"},
    {"2026-11-30", "s:2026-11-30"},
    {"[1,2", "s:[1,2"},
    {"[1] [2]", "s:[1] [2]"},
    {"{a}", "s:{a}"},
    {"\"open", "s:\"open"},
    {"[[[[[[[[1]]]]]]]]", "[[[[[[[[i:1]]]]]]]]"},
    {"[[[[[[[[[1]]]]]]]]]", "s:[[[[[[[[[1]]]]]]]]]"},
    {"{\"a\\u0000\":1}", "a name in the JSON of a header holds a NUL"},
};

START_TEST(a_text_becomes_what_its_json_is)
{
    ck_assert_str_eq(field_of(texts[_i].text), texts[_i].field);
}
END_TEST

START_TEST(a_long_name_in_an_object_is_refused)
{
    char text[300] = "{\"";
    memset(text + 2, 'n', 256);
    strncpy(text + 258, "\":1}", sizeof text - 258);
    ck_assert_str_eq(field_of(text), "a name in the JSON of a header is longer than 255 bytes");
    memmove(text + 2, text + 3, strlen(text + 3) + 1);
    ck_assert_ptr_nonnull(strstr(field_of(text), "n=i:1}"));
}
END_TEST

/* What the library makes of it is what was counted. */
START_TEST(sizes_are_those_of_the_library)
{
    static const char *const of[] = {
        "5", "1.5", "true", "null", "text", "[]", "{}", "[1,[\"abc\",null],{\"key\":[false,1.5]}]"};
    unsigned char buffer[1024];
    struct arena arena = ARENA_INIT(0);
    struct outbox_err err = {.size = sizeof err};
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        amqp_table_entry_t entry = {.key = amqp_cstring_bytes("name")};
        amqp_table_t table = {1, &entry};
        size_t n = 0;
        ck_assert_int_eq(field_read_json(outbox_cstr(of[i]), &arena, &entry.value, &err), 0);
        ck_assert_int_eq(amqp_encode_table((amqp_bytes_t){sizeof buffer, buffer}, &table, &n),
                         AMQP_STATUS_OK);
        ck_assert_uint_eq(field_table_size(&table), n);
        ck_assert_uint_eq(n, 4 + 1 + 4 + field_size(&entry.value));
    }
    arena_free(&arena);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("amqp field");
    TCase *tc = tcase_create("field");
    tcase_add_loop_test(tc, a_text_becomes_what_its_json_is, 0, sizeof texts / sizeof texts[0]);
    tcase_add_test(tc, a_long_name_in_an_object_is_refused);
    tcase_add_test(tc, sizes_are_those_of_the_library);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
