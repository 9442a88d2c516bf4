/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp's templates: names made of a message that somebody hostile may have written. */
#include "publish/template.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <stdbool.h>
#include <string.h>

static const struct outbox_header headers[] = {
    {{"region", 6}, {"eu", 2}},
    {{"empty", 5}, {"", 0}},
    {{"with.dot", 8}, {"d", 1}},
    {{"nul", 3}, {"a\0b", 3}},
};

static struct outbox_message a_message(const char *topic, const char *key)
{
    return (struct outbox_message){.size = sizeof(struct outbox_message),
                                   .topic = outbox_cstr(topic),
                                   .key = outbox_cstr(key),
                                   .headers = headers,
                                   .n_headers = sizeof headers / sizeof headers[0]};
}

static struct outbox_template parsed(const char *text)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_template t;
    if (template_parse("routing_key", text, &t, &err) < 0)
        ck_abort_msg("%s: %s", text, err.text);
    return t;
}

static const struct {
    const char *text, *becomes;
    bool fixed;
} templates[] = {
    {"", "", true},
    {"events", "events", true},
    {"{topic}", "order.placed", false},
    {"{key}", "k1", false},
    {"a.{topic}.b", "a.order.placed.b", false},
    {"{topic}{key}", "order.placedk1", false},
    {"{header.region}.{topic}", "eu.order.placed", false},
    {"{header.empty}x", "x", false},
    {"{header.with.dot}", "d", false},
    {"caf\xc3\xa9.{key}", "caf\xc3\xa9.k1", false},
};

START_TEST(templates_take_from_the_message)
{
    struct outbox_message msg = a_message("order.placed", "k1");
    struct outbox_template t = parsed(templates[_i].text);
    struct outbox_err err = {.size = sizeof err};
    char out[SHORT_MAX + 1];
    size_t n;
    ck_assert_int_eq(template_render(&t, &msg, out, &n, &err), OUTBOX_OK);
    ck_assert_str_eq(out, templates[_i].becomes);
    ck_assert_uint_eq(n, strlen(out));
    ck_assert(templates[_i].fixed == (t.fixed != 0));
    ck_assert(!t.fixed || strcmp(t.text, out) == 0);
}
END_TEST

static const struct {
    const char *text, *why;
} mistakes[] = {
    {"{", "a `{` without its `}`"},
    {"a{topic", "a `{` without its `}`"},
    {"a}b", "a `}` without its `{`"},
    {"{}", "{} is unknown; there are {topic}, {key} and {header.NAME}"},
    {"{Topic}", "{Topic} is unknown"},
    {"{header}", "{header} is unknown"},
    {"{header.}", "{header.} is unknown"},
    {"{payload}", "{payload} is unknown"},
    {"{{topic}}", "{{topic} is unknown"},
    {"a\nb", "holds a control character"},
    {"\xff", "is not valid UTF-8"},
};

START_TEST(mistakes_name_the_option)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_template t;
    ck_assert_int_eq(template_parse("routing_key", mistakes[_i].text, &t, &err), OUTBOX_E_CONFIG);
    ck_assert_int_eq(strncmp(err.text, "routing_key: ", 13), 0);
    ck_assert_msg(strstr(err.text, mistakes[_i].why), "%s", err.text);
}
END_TEST

START_TEST(a_template_has_its_limit)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_template t;
    char text[300];
    memset(text, 'x', sizeof text);
    text[256] = '\0';
    ck_assert_int_eq(template_parse("queue", text, &t, &err), OUTBOX_E_CONFIG);
    text[255] = '\0';
    ck_assert_int_eq(template_parse("queue", text, &t, &err), OUTBOX_OK);
    memcpy(text + 100, "{key}", 5);
    memset(text + 105, 'x', 156);
    text[261] = '\0';
    ck_assert_int_eq(template_parse("queue", text, &t, &err), OUTBOX_E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.text, "longer than 255 bytes"));
}
END_TEST

static char long_topic[300];
static const struct {
    const char *text, *topic, *why;
} refused[] = {
    {"{header.missing}", "t", "needs the header `missing`, which the message lacks"},
    {"{header.nul}", "t", "holds a NUL"},
    {"{topic}", "a\nb", "holds a control character"},
    {"{topic}", "a\x7f", "holds a control character"},
    {"{topic}", "a\xc2\x85", "holds a control character"},
    {"{topic}", "a\xff", "is not valid UTF-8"},
    {"{topic}", long_topic, "is longer than 255 bytes"},
    {"x{topic}", long_topic + 44, "is longer than 255 bytes"},
};

START_TEST(a_hostile_message_becomes_no_name)
{
    memset(long_topic, 'x', sizeof long_topic - 1);
    struct outbox_message msg = a_message(refused[_i].topic, "");
    struct outbox_template t = parsed(refused[_i].text);
    struct outbox_err err = {.size = sizeof err};
    char out[SHORT_MAX + 1];
    size_t n;
    ck_assert_int_eq(template_render(&t, &msg, out, &n, &err), OUTBOX_E_CONFIG);
    ck_assert_int_eq(strncmp(err.text, "routing_key ", 12), 0);
    ck_assert_msg(strstr(err.text, refused[_i].why), "%s", err.text);
}
END_TEST

START_TEST(names_up_to_255_bytes_pass)
{
    memset(long_topic, 'x', sizeof long_topic - 1);
    struct outbox_message msg = a_message(long_topic + 44, "");
    struct outbox_template t = parsed("{topic}{key}");
    struct outbox_err err = {.size = sizeof err};
    char out[SHORT_MAX + 1];
    size_t n;
    ck_assert_int_eq(template_render(&t, &msg, out, &n, &err), OUTBOX_OK);
    ck_assert_uint_eq(n, 255);
}
END_TEST

START_TEST(text_in_properties_may_have_lines_but_no_nul)
{
    ck_assert_ptr_null(short_text_fault("a\nb", 3));
    ck_assert_ptr_null(short_text_fault("", 0));
    ck_assert_ptr_null(short_text_fault(NULL, 0));
    ck_assert_str_eq(short_text_fault("a\0b", 3), "holds a NUL");
    ck_assert_str_eq(short_text_fault("\xff", 1), "is not valid UTF-8");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("amqp template");
    TCase *tc = tcase_create("amqp template");
    tcase_add_loop_test(tc, templates_take_from_the_message, 0,
                        sizeof templates / sizeof templates[0]);
    tcase_add_loop_test(tc, mistakes_name_the_option, 0, sizeof mistakes / sizeof mistakes[0]);
    tcase_add_test(tc, a_template_has_its_limit);
    tcase_add_loop_test(tc, a_hostile_message_becomes_no_name, 0,
                        sizeof refused / sizeof refused[0]);
    tcase_add_test(tc, names_up_to_255_bytes_pass);
    tcase_add_test(tc, text_in_properties_may_have_lines_but_no_nul);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
