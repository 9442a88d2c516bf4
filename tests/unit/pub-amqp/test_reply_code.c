/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: who is to blame for a closed channel. */
#include "publish/reply_code.h"
#include "unit.h"

#include <stdio.h>

static const struct {
    uint16_t code, class_id, method_id;
    const char *text;
    bool fixed_exchange, fixed_key;
    enum blame fault;
} replies[] = {
    {404, 60, 40, "NOT_FOUND - no exchange 'x' in vhost '/'", true, false, BLAME_NO_MESSAGE},
    {404, 60, 40, "NOT_FOUND - no exchange 'x' in vhost '/'", false, false, BLAME_MESSAGE},
    {403, 60, 40, "ACCESS_REFUSED - write access to exchange 'x'", true, false, BLAME_NO_MESSAGE},
    {403, 60, 40, "ACCESS_REFUSED - write access to exchange 'x'", false, false, BLAME_MESSAGE},
    {403, 60, 40, "ACCESS_REFUSED - write access to topic 'a.b' in exchange 'x'", true, false,
     BLAME_MESSAGE},
    {403, 60, 40, "ACCESS_REFUSED - write access to topic 'a.b' in exchange 'x'", true, true,
     BLAME_NO_MESSAGE},
    {406, 60, 40, "PRECONDITION_FAILED - message size 9 is larger than configured", true, true,
     BLAME_MESSAGE_FOR_GOOD},
    {311, 60, 40, "CONTENT_TOO_LARGE", true, true, BLAME_MESSAGE_FOR_GOOD},
    {404, 0, 0, "NOT_FOUND", true, true, BLAME_NO_MESSAGE},
    {406, 0, 0, "PRECONDITION_FAILED", true, true, BLAME_MESSAGE_FOR_GOOD},
    {541, 60, 40, "INTERNAL_ERROR", true, true, BLAME_MESSAGE},
    /* Not because of a message. */
    {406, 50, 10, "PRECONDITION_FAILED", false, false, BLAME_NO_MESSAGE},
    {404, 60, 60, "NOT_FOUND", false, false, BLAME_NO_MESSAGE},
};

START_TEST(the_right_one_is_to_blame)
{
    struct reply reply = {replies[_i].code, replies[_i].class_id, replies[_i].method_id, ""};
    snprintf(reply.text, sizeof reply.text, "%s", replies[_i].text);
    ck_assert_int_eq(blame_for(&reply, replies[_i].fixed_exchange, replies[_i].fixed_key),
                     replies[_i].fault);
}
END_TEST

START_TEST(what_a_person_must_repair_is_final)
{
    ck_assert(reply_is_final(403));
    ck_assert(reply_is_final(530));
    ck_assert(reply_is_final(404));
    ck_assert(reply_is_final(406));
    ck_assert(!reply_is_final(320));
    ck_assert(!reply_is_final(541));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("amqp blame");
    TCase *tc = tcase_create("amqp blame");
    tcase_add_loop_test(tc, the_right_one_is_to_blame, 0, sizeof replies / sizeof replies[0]);
    tcase_add_test(tc, what_a_person_must_repair_is_final);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
