/* SPDX-License-Identifier: Apache-2.0 */
/* The circuit breaker: one probes, batches grow again, and a message that spoils it is found out.
 */
#include "policy/breaker.h"
#include "unit.h"

#include <poll.h>
#include <string.h>

static struct breaker breaker;

static void set_up(void)
{
    breaker_init(&breaker);
}

static void tear_down(void)
{
    breaker_destroy(&breaker);
}

static void fail_with(uint64_t culprit)
{
    int64_t ms;
    breaker_failed(&breaker, culprit, 1, "down", 4, &ms);
}

static struct breaker_pass enter_soon(void)
{
    struct breaker_pass pass;
    while ((pass = breaker_enter(&breaker)).wait_ms > 0)
        poll(NULL, 0, 1);
    return pass;
}

START_TEST(closed_it_lets_everything_through)
{
    struct breaker_pass pass = breaker_enter(&breaker);
    ck_assert_int_eq(pass.wait_ms, 0);
    ck_assert(!pass.probe);
    ck_assert_uint_eq(pass.limit, UINT32_MAX);
    ck_assert(!breaker_passed(&breaker));
    ck_assert_uint_eq(breaker.slow_start, UINT32_MAX);
}
END_TEST

START_TEST(open_one_probes_with_another_message_and_the_others_wait)
{
    fail_with(7);
    struct breaker_pass pass = enter_soon();
    ck_assert(pass.probe);
    ck_assert_uint_eq(pass.limit, 1);
    ck_assert_uint_eq(pass.avoid_id, 7);
    ck_assert_int_gt(breaker_enter(&breaker).wait_ms, 0);
    fail_with(8);
    ck_assert_uint_eq(enter_soon().avoid_id, 8);
}
END_TEST

START_TEST(only_a_message_shows_that_it_is_back_not_its_check)
{
    fail_with(7);
    ck_assert(enter_soon().probe);
    suspension_check_ok(&breaker.suspension);
    struct breaker_pass pass = enter_soon();
    ck_assert_uint_eq(pass.limit, 1);
    ck_assert_uint_eq(pass.avoid_id, 7);
    fail_with(0); /* a check */
    ck_assert_uint_eq(enter_soon().avoid_id, 7);
    ck_assert(breaker_passed(&breaker));
}
END_TEST

/* A publisher may ask for a longer pause than the breaker's longest, but not for ever. */
START_TEST(a_pause_that_was_asked_for_has_an_end)
{
    int64_t ms;
    breaker_failed(&breaker, 0, INT64_MAX / 1000, "closed until noon", 17, &ms);
    ck_assert_int_le(ms, BREAKER_PAUSE_ASKED_MAX_MS);
    ck_assert_int_gt(ms, BREAKER_PAUSE_MAX_MS);
}
END_TEST

START_TEST(after_an_outage_batches_grow_step_by_step)
{
    fail_with(1);
    ck_assert(enter_soon().probe);
    ck_assert(breaker_passed(&breaker));
    uint32_t last = 1, steps = 0;
    for (uint32_t now; (now = breaker.slow_start) != UINT32_MAX; steps++) {
        ck_assert_uint_gt(now, last);
        ck_assert_uint_le(now, last * 4);
        ck_assert_uint_eq(breaker_enter(&breaker).limit, now); /* for every worker */
        ck_assert(!breaker_passed(&breaker));
        last = now;
    }
    ck_assert_uint_ge(steps, 3);
    fail_with(0);
    ck_assert_uint_eq(enter_soon().limit, 1);
}
END_TEST

START_TEST(a_message_is_blamed_the_third_time_that_others_got_through)
{
    for (int i = 0; i < 2; i++) {
        ck_assert(!breaker_blames(&breaker, 7));
        fail_with(7);
        breaker_accepted(&breaker, 8);
    }
    ck_assert(!breaker_blames(&breaker, 9));
    ck_assert(breaker_blames(&breaker, 7));
    ck_assert(!breaker_blames(&breaker, 9));
    ck_assert(!breaker_blames(&breaker, 7)); /* charged: until others got through again */
    breaker_accepted(&breaker, 9);
    ck_assert(breaker_blames(&breaker, 7));
}
END_TEST

/* As with a queue that is full again and again. */
START_TEST(nobody_is_blamed_for_what_happens_to_ever_other_messages)
{
    for (uint64_t i = 0; i < 10; i++) {
        ck_assert(!breaker_blames(&breaker, 7));
        fail_with(7);
        breaker_accepted(&breaker, 8);
        fail_with(100 + i);
        breaker_accepted(&breaker, 100 + i);
    }
}
END_TEST

START_TEST(two_that_do_it_again_and_again_are_both_blamed)
{
    int rounds = 0;
    for (; rounds < 10 && !(breaker_blames(&breaker, 7) && breaker_blames(&breaker, 9)); rounds++) {
        fail_with(7);
        breaker_accepted(&breaker, 8);
        fail_with(9);
        breaker_accepted(&breaker, 8);
    }
    ck_assert_int_le(rounds, 3);
}
END_TEST

START_TEST(an_outage_is_nobodys_fault_however_long)
{
    for (int i = 0; i < 10; i++)
        fail_with(7);
    breaker_accepted(&breaker, 8);
    ck_assert(!breaker_blames(&breaker, 7));
    breaker_accepted(&breaker, 7); /* it was the publisher */
    ck_assert(!breaker.any_suspect);
    for (int i = 0; i < 2; i++) {
        ck_assert(!breaker_blames(&breaker, 7));
        fail_with(7);
        breaker_accepted(&breaker, 8);
    }
    ck_assert(breaker.any_suspect);
}
END_TEST

START_TEST(many_suspects_push_the_oldest_out)
{
    for (uint64_t id = 1; id <= 1000; id++)
        fail_with(id);
    breaker_accepted(&breaker, 5000);
    ck_assert(!breaker_blames(&breaker, 1));
    ck_assert(breaker.any_suspect);
    ck_assert_uint_ne(breaker_id((struct outbox_str){"a", 1}),
                      breaker_id((struct outbox_str){"b", 1}));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("breaker");
    TCase *tc = tcase_create("breaker");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, closed_it_lets_everything_through);
    tcase_add_test(tc, open_one_probes_with_another_message_and_the_others_wait);
    tcase_add_test(tc, only_a_message_shows_that_it_is_back_not_its_check);
    tcase_add_test(tc, a_pause_that_was_asked_for_has_an_end);
    tcase_add_test(tc, after_an_outage_batches_grow_step_by_step);
    tcase_add_test(tc, a_message_is_blamed_the_third_time_that_others_got_through);
    tcase_add_test(tc, nobody_is_blamed_for_what_happens_to_ever_other_messages);
    tcase_add_test(tc, two_that_do_it_again_and_again_are_both_blamed);
    tcase_add_test(tc, an_outage_is_nobodys_fault_however_long);
    tcase_add_test(tc, many_suspects_push_the_oldest_out);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
