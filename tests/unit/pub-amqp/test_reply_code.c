/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: what a closed channel is caused by. */
#include "connection/reply_code.h"
#include "unit.h"

#include <stdio.h>

static const struct {
    uint16_t code, class_id, method_id;
    const char *text;
    bool fixed_exchange, fixed_key;
    enum reply_code_cause cause;
} replies[] = {
    {404, 60, 40, "NOT_FOUND - no exchange 'x' in vhost '/'", true, false, CAUSE_CONFIGURATION},
    {404, 60, 40, "NOT_FOUND - no exchange 'x' in vhost '/'", false, false, CAUSE_MESSAGE},
    {403, 60, 40, "ACCESS_REFUSED - write access to exchange 'x'", true, false,
     CAUSE_CONFIGURATION},
    {403, 60, 40, "ACCESS_REFUSED - write access to exchange 'x'", false, false, CAUSE_MESSAGE},
    {403, 60, 40, "ACCESS_REFUSED - write access to topic 'a.b' in exchange 'x'", true, false,
     CAUSE_MESSAGE},
    {403, 60, 40, "ACCESS_REFUSED - write access to topic 'a.b' in exchange 'x'", true, true,
     CAUSE_CONFIGURATION},
    {406, 60, 40, "PRECONDITION_FAILED - message size 9 is larger than configured", true, true,
     CAUSE_MESSAGE_FOR_GOOD},
    {311, 60, 40, "CONTENT_TOO_LARGE", true, true, CAUSE_MESSAGE_FOR_GOOD},
    {404, 0, 0, "NOT_FOUND", true, true, CAUSE_CONFIGURATION},
    {406, 0, 0, "PRECONDITION_FAILED", true, true, CAUSE_MESSAGE_FOR_GOOD},
    {541, 60, 40, "INTERNAL_ERROR", true, true, CAUSE_MESSAGE},
    /* Not because of a message. */
    {406, 50, 10, "PRECONDITION_FAILED", false, false, CAUSE_CONFIGURATION},
    {404, 60, 60, "NOT_FOUND", false, false, CAUSE_CONFIGURATION},
};

START_TEST(the_cause_is_a_message_or_the_configuration)
{
    struct reply reply = {replies[_i].code, replies[_i].class_id, replies[_i].method_id, ""};
    snprintf(reply.text, sizeof reply.text, "%s", replies[_i].text);
    ck_assert_int_eq(reply_code_cause(&reply, replies[_i].fixed_exchange, replies[_i].fixed_key),
                     replies[_i].cause);
}
END_TEST

START_TEST(a_limit_of_the_body_is_read_from_the_text)
{
    static const struct {
        struct reply reply;
        uint64_t max;
    } cases[] = {
        {{406, 60, 40, "PRECONDITION_FAILED - message size 2 is larger than configured max size 1"},
         1},
        {{406, 60, 40,
          "PRECONDITION_FAILED - message size 536870913 is larger than max size "
          "536870912"},
         536870912},
        {{406, 60, 40, "PRECONDITION_FAILED - invalid message"}, 0},
        {{406, 60, 40, "PRECONDITION_FAILED - max size big"}, 0},
        {{403, 60, 40, "ACCESS_REFUSED - exchange 'max size 1'"}, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_uint_eq(reply_code_body_max(&cases[i].reply), cases[i].max);
}
END_TEST

START_TEST(what_a_person_must_repair_is_final)
{
    ck_assert(reply_code_is_final(403));
    ck_assert(reply_code_is_final(530));
    ck_assert(reply_code_is_final(404));
    ck_assert(reply_code_is_final(406));
    ck_assert(!reply_code_is_final(320));
    ck_assert(!reply_code_is_final(541));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("amqp reply code");
    TCase *tc = tcase_create("amqp reply code");
    tcase_add_loop_test(tc, the_cause_is_a_message_or_the_configuration, 0,
                        sizeof replies / sizeof replies[0]);
    tcase_add_test(tc, a_limit_of_the_body_is_read_from_the_text);
    tcase_add_test(tc, what_a_person_must_repair_is_final);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
