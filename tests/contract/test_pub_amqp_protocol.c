/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: confirms and returns in every order, from a broker that does what the case says. */
#include "fake_case.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- confirms ---- */

/* The first at once, since a new connection has to prove itself; then the last first. */
static void ack_backwards(struct fake *f, uint64_t tag, const char *id)
{
    (void)id;
    if (tag == 1)
        fake_ack(f, 1, false);
    if (tag == 20)
        for (uint64_t i = 20; i > 10; i--)
            fake_ack(f, i, false);
    if (tag == 20)
        fake_ack(f, 8, true);
    if (tag == 20)
        fake_ack(f, 10, true);
}

START_TEST(confirms_may_come_out_of_order_and_for_several)
{
    struct instance *instance = publisher_against(ack_backwards);
    struct batch *b = a_batch("m", 20, "x");
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    close_publisher(instance);
}
END_TEST

static void ack_some(struct fake *f, uint64_t tag, const char *id)
{
    (void)id;
    if (tag == 1)
        fake_ack(f, 1, false);
    if (tag == 10) {
        fake_nack(f, 4, true);
        fake_ack(f, 9, false);
        fake_ack(f, 9, false); /* saying it twice is no crime */
        fake_nack(f, 7, false);
        fake_ack(f, 10, true);
    }
}

START_TEST(nacks_and_acks_reach_the_right_messages)
{
    static const uint32_t verdicts[] = {
        OUTBOX_ACCEPTED, OUTBOX_LATER, OUTBOX_LATER,    OUTBOX_LATER,    OUTBOX_ACCEPTED,
        OUTBOX_ACCEPTED, OUTBOX_LATER, OUTBOX_ACCEPTED, OUTBOX_ACCEPTED, OUTBOX_ACCEPTED};
    struct instance *instance = publisher_against(ack_some);
    struct batch *b = a_batch("m", 10, "x");
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_OK);
    for (uint64_t i = 0; i < 10; i++)
        ck_assert_uint_eq(b->outcomes[i].verdict, verdicts[i]);
    close_publisher(instance);
}
END_TEST

static void contradict(struct fake *f, uint64_t tag, const char *id)
{
    (void)id;
    fake_ack(f, tag, false);
    if (tag == 3)
        fake_nack(f, 2, false);
}

static void confirm_the_future(struct fake *f, uint64_t tag, const char *id)
{
    (void)id;
    fake_ack(f, tag == 3 ? 4711 : tag, false);
}

static void return_a_stranger(struct fake *f, uint64_t tag, const char *id)
{
    (void)id;
    if (tag == 3)
        fake_return(f, "stranger", 10);
    fake_ack(f, tag, false);
}

static void return_twice(struct fake *f, uint64_t tag, const char *id)
{
    for (int i = 0; tag == 3 && i < 2; i++)
        fake_return(f, id, 10);
    fake_ack(f, tag, false);
}

static void talk_nonsense(struct fake *f, uint64_t tag, const char *id)
{
    (void)id;
    if (tag == 3)
        fake_junk(f);
    else
        fake_ack(f, tag, false);
}

static const struct {
    void (*on_message)(struct fake *, uint64_t, const char *);
    const char *why;
} offences[] = {
    {contradict, "a confirm that contradicts an earlier one"},
    {confirm_the_future, "a confirm for a message that was never sent"},
    {return_a_stranger, "returned a message with an id that is not under way"},
    {return_twice, "returned a message twice"},
    {talk_nonsense, "invalid AMQP data"},
};

START_TEST(a_broker_that_breaks_the_protocol_is_left)
{
    struct instance *instance = publisher_against(offences[_i].on_message);
    struct batch *b = a_batch("m", 50, "x");
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_E_RETRY);
    ck_assert_msg(strstr(b->err.text, offences[_i].why), "%s", b->err.text);
    ck_assert_uint_eq(b->outcomes[0].verdict, OUTBOX_ACCEPTED);
    ck_assert_uint_eq(b->outcomes[49].verdict, OUTBOX_UNSET);
    ck_assert_int_eq(publish(instance, a_batch("n", 2, "x"), 10000, -1), OUTBOX_OK);
    ck_assert_int_eq(fake.connections, 2);
    close_publisher(instance);
}
END_TEST

/* ---- the window ---- */

static int most_unconfirmed;

static void ack_at_ten(struct fake *f, uint64_t tag, const char *id)
{
    static uint64_t acked;
    (void)id;
    if (tag - acked > (uint64_t)most_unconfirmed)
        most_unconfirmed = (int)(tag - acked);
    if (tag == 1 || (tag - acked) % 10 == 0 || tag == 101) {
        poll(NULL, 0, 5); /* whatever else would be sent can come */
        fake_ack(f, tag, true);
        acked = tag;
    }
}

START_TEST(no_more_than_a_window_is_unconfirmed)
{
    fake.on_message = ack_at_ten;
    fake_start(&fake);
    struct instance *instance = a_publisher("window", "10", NULL);
    struct batch *b = a_batch("m", 101, "x");
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    ck_assert_int_eq(most_unconfirmed, 10);
    close_publisher(instance);
}
END_TEST

static void fail_every_third(struct fake *f, uint64_t tag, const char *id)
{
    (void)id;
    if (tag % 3 == 2)
        fake_nack(f, tag, false);
    else
        fake_ack(f, tag, false);
}

START_TEST(a_window_of_one_keeps_the_order_of_a_key)
{
    fake.on_message = fail_every_third;
    fake_start(&fake);
    struct instance *instance = a_publisher("window", "1", NULL);
    struct batch *b = a_batch("m", 6, "x");
    static const char *const keys[] = {"a", "b", "b", "a", "", ""};
    static const uint32_t verdicts[] = {OUTBOX_ACCEPTED, OUTBOX_LATER,    OUTBOX_UNSET,
                                        OUTBOX_ACCEPTED, OUTBOX_ACCEPTED, OUTBOX_LATER};
    for (int i = 0; i < 6; i++)
        b->msgs[i].key = outbox_cstr(keys[i]);
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_OK);
    for (uint64_t i = 0; i < 6; i++)
        ck_assert_msg(b->outcomes[i].verdict == verdicts[i], "%d: %u", (int)i,
                      b->outcomes[i].verdict);
    ck_assert_uint_eq(instance->plugin->ops.publisher.capabilities(instance->self),
                      OUTBOX_PUB_KEEPALIVE | OUTBOX_PUB_KEEPS_ORDER);
    close_publisher(instance);
    instance = a_publisher(NULL);
    ck_assert_uint_eq(instance->plugin->ops.publisher.capabilities(instance->self),
                      OUTBOX_PUB_KEEPALIVE);
    close_publisher(instance);
}
END_TEST

/* ---- late confirms ---- */

static void ack_the_one_before(struct fake *f, uint64_t tag, const char *id)
{
    if (tag > 1)
        fake_ack(f, tag - 1, false);
    if (strcmp(id, "last-1") == 0)
        fake_ack(f, tag, false);
}

START_TEST(a_late_confirm_settles_no_other_message)
{
    struct instance *instance = publisher_against(ack_the_one_before);
    struct batch *b = a_batch("first", 1, "x");
    ck_assert_int_eq(publish(instance, b, 1500, -1), OUTBOX_E_TIMEOUT); /* it connects, too */
    assert_verdicts(b, OUTBOX_UNSET);
    /* Its confirm comes with the second, whose own does not. */
    poll(NULL, 0, 50);
    b = a_batch("second", 1, "x");
    int r = publish(instance, b, 400, -1);
    ck_assert_int_eq(r, OUTBOX_E_TIMEOUT);
    assert_verdicts(b, OUTBOX_UNSET);
    close_publisher(instance);
}
END_TEST

START_TEST(a_call_without_time_is_no_outage)
{
    static const enum fake_silence silences[] = {FAKE_SILENT_AT_ONCE, FAKE_SILENT_AFTER_LOGIN};
    static const uint32_t times[] = {0, 1, 20, 300};
    fake.silence = silences[_i % 2];
    fake_start(&fake);
    struct instance *instance = a_publisher(NULL);
    struct batch *b = a_batch("m", 3, "x");
    int64_t began = now_ms();
    ck_assert_int_eq(publish(instance, b, times[_i / 2], -1), OUTBOX_E_TIMEOUT);
    ck_assert_int_le(now_ms() - began, times[_i / 2] + LATE_MS); /* not connect_timeout, 5 s */
    assert_verdicts(b, OUTBOX_UNSET);
    close_publisher(instance);
}
END_TEST

/* ---- returns ---- */

static void return_the_odd_ones(struct fake *f, uint64_t tag, const char *id)
{
    if (tag % 2)
        fake_return(f, id, 300000);
    fake_ack(f, tag, false);
}

START_TEST(a_returned_message_is_not_accepted)
{
    fake.on_message = return_the_odd_ones;
    fake_start(&fake);
    struct instance *instance = a_publisher("queue", "{key}", "allow_queues", "*", NULL);
    struct batch *b = a_batch("m", 50, "x");
    for (int i = 0; i < 50; i++)
        b->msgs[i].key = outbox_cstr("k");
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_OK);
    for (uint64_t i = 0; i < 50; i++)
        ck_assert_uint_eq(b->outcomes[i].verdict, i % 2 ? OUTBOX_ACCEPTED : OUTBOX_RETRY);
    close_publisher(instance);
}
END_TEST

int main(void)
{
    publisher_use(&fake_kind);
    Suite *suite = suite_create("amqp protocol");
    TCase *tc = tcase_create("protocol");
    tcase_add_checked_fixture(tc, fake_set_up, fake_tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, confirms_may_come_out_of_order_and_for_several);
    tcase_add_test(tc, nacks_and_acks_reach_the_right_messages);
    tcase_add_loop_test(tc, a_broker_that_breaks_the_protocol_is_left, 0,
                        sizeof offences / sizeof offences[0]);
    tcase_add_test(tc, no_more_than_a_window_is_unconfirmed);
    tcase_add_test(tc, a_window_of_one_keeps_the_order_of_a_key);
    tcase_add_test(tc, a_late_confirm_settles_no_other_message);
    tcase_add_loop_test(tc, a_call_without_time_is_no_outage, 0, 8);
    tcase_add_test(tc, a_returned_message_is_not_accepted);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
