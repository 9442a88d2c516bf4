/* SPDX-License-Identifier: Apache-2.0 */
/* A suspension: its pauses grow, one tries, and the log hears of it once. */
#include "base/clock.h"
#include "policy/suspension.h"
#include "unit.h"

START_TEST(one_tries_and_the_others_wait)
{
    struct suspension s;
    int64_t ms;
    suspension_init(&s, 500, 30000);
    ck_assert_int_eq(suspension_enter(&s, NULL), 0);
    ck_assert(suspension_failed(&s, 1, "down", 4, &ms));
    ck_assert_int_ge(ms, 1);
    ck_assert(suspension_snapshot(&s).paused);
    ck_assert_str_eq(suspension_snapshot(&s).reason, "down");
    for (int64_t end = clock_monotonic_us() + 5000000; suspension_enter(&s, NULL) > 0;)
        ck_assert_int_lt(clock_monotonic_us(), end);
    ck_assert_int_gt(suspension_enter(&s, NULL), 0); /* one is trying */
    ck_assert(!suspension_failed(&s, 60000, "still", 5, &ms));
    ck_assert_int_gt(ms, 50000);
    ck_assert_int_gt(suspension_enter(&s, NULL), 50000);
    ck_assert(suspension_passed(&s));
    ck_assert(!suspension_passed(&s));
    ck_assert_int_eq(suspension_enter(&s, NULL), 0);
    suspension_destroy(&s);
}
END_TEST

START_TEST(another_reason_is_logged_once_and_not_each_time_they_alternate)
{
    struct suspension s;
    int64_t ms;
    suspension_init(&s, 500, 30000);
    ck_assert(suspension_failed(&s, 1, "closed", 6, &ms));
    ck_assert(!suspension_failed(&s, 1, "refused", 7, &ms)); /* a moment later */
    s.reported_us -= 6000000;
    ck_assert(!suspension_failed(&s, 1, "closed", 6, &ms));
    ck_assert(suspension_failed(&s, 1, "refused", 7, &ms));
    s.reported_us -= 6000000;
    ck_assert(!suspension_failed(&s, 1, "refused", 7, &ms));
    suspension_passed(&s);
    ck_assert(suspension_failed(&s, 1, "refused", 7, &ms));
    suspension_destroy(&s);
}
END_TEST

/* A passed check is no proof: what fails at the next message was never available. */
START_TEST(what_passes_only_its_check_makes_the_pause_grow_on)
{
    struct suspension s;
    int64_t ms;
    suspension_init(&s, 500, 30000);
    suspension_check_ok(&s); /* it was available all the time */
    ck_assert(suspension_failed(&s, 0, "down", 4, &ms));
    int64_t began_us = s.began_us;
    for (int64_t least = 500; least < 8000; least *= 2) {
        s.until_us = 0;
        ck_assert_int_eq(suspension_enter(&s, NULL), 0);
        suspension_check_ok(&s);
        ck_assert(!suspension_snapshot(&s).paused);
        ck_assert_int_eq(suspension_enter(&s, NULL), 0);
        ck_assert_int_gt(suspension_enter(&s, NULL), 0); /* still only one tries */
        ck_assert(!suspension_failed(&s, 0, "down", 4, &ms));
        ck_assert_int_ge(ms, least);
        ck_assert(suspension_snapshot(&s).began_us == began_us);
    }
    suspension_check_ok(&s);
    ck_assert(suspension_passed(&s)); /* only now it is back */
    ck_assert(suspension_failed(&s, 0, "down", 4, &ms));
    ck_assert_int_le(ms, 500);
    suspension_check_ok(&s);
    s.check_ok_us -= 61000000;
    ck_assert(suspension_failed(&s, 0, "down", 4, &ms)); /* another outage */
    ck_assert_int_le(ms, 500);
    suspension_destroy(&s);
}
END_TEST

START_TEST(no_minute_of_an_outage_passes_in_silence)
{
    struct suspension s;
    int64_t ms;
    suspension_init(&s, 500, 30000);
    ck_assert(!suspension_remind(&s));
    ck_assert(suspension_failed(&s, 1, "down", 4, &ms));
    for (int i = 0; i < 3; i++) {
        s.reported_us -= 54000000;
        ck_assert(!suspension_remind(&s));
        s.reported_us -= 1000000;
        ck_assert(suspension_remind(&s));
        ck_assert(!suspension_remind(&s));
    }
    suspension_passed(&s);
    s.reported_us -= 60000000;
    ck_assert(!suspension_remind(&s));
    suspension_destroy(&s);
}
END_TEST

START_TEST(an_outage_that_lasts_is_logged_again_and_again_with_growing_pauses)
{
    struct suspension s;
    int64_t ms;
    suspension_init(&s, 500, 30000);
    ck_assert(suspension_failed(&s, 1, "down", 4, &ms));
    for (int64_t minute = 60000000; minute <= 4 * 60000000ll; minute *= 2) {
        ck_assert(!suspension_failed(&s, 1, "down", 4, &ms));
        s.reminder.next_us -= minute - 1000000;
        ck_assert(!suspension_failed(&s, 1, "down", 4, &ms));
        s.reminder.next_us -= 1000000;
        ck_assert(suspension_failed(&s, 1, "down", 4, &ms));
    }
    suspension_passed(&s);
    ck_assert(suspension_failed(&s, 1, "down", 4, &ms)); /* another outage begins anew */
    ck_assert_int_eq(s.reminder.pause_us, 60000000);
    s.reminder.pause_us = REMINDER_LONGEST_US;
    s.reminder.next_us = 0;
    ck_assert(suspension_failed(&s, 1, "down", 4, &ms));
    ck_assert_int_eq(s.reminder.pause_us, REMINDER_LONGEST_US);
    suspension_destroy(&s);
}
END_TEST

/* Brokers lock out who insists on a wrong password; see decision 59. */
START_TEST(a_pause_that_was_asked_for_holds_for_the_whole_outage)
{
    struct suspension s;
    int64_t ms;
    suspension_init(&s, 500, 30000);
    suspension_failed(&s, 15000, "refused", 7, &ms);
    for (int i = 0; i < 3; i++) {
        s.until_us = 0;
        ck_assert_int_eq(suspension_enter(&s, NULL), 0);
        suspension_failed(&s, 0, "refused", 7, &ms);
        ck_assert_int_ge(ms, 15000);
    }
    suspension_passed(&s);
    suspension_failed(&s, 0, "down", 4, &ms);
    ck_assert_int_le(ms, 500);
    suspension_destroy(&s);
}
END_TEST

START_TEST(latecomers_do_not_prolong_a_pause)
{
    struct suspension s;
    int64_t first, second;
    suspension_init(&s, 500, 30000);
    suspension_failed(&s, 1000, "down", 4, &first);
    suspension_failed(&s, 60000, "down", 4, &second); /* it was under way when the first failed */
    ck_assert_int_le(second, 1000);
    suspension_destroy(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("suspension");
    TCase *tc = tcase_create("suspension");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, one_tries_and_the_others_wait);
    tcase_add_test(tc, another_reason_is_logged_once_and_not_each_time_they_alternate);
    tcase_add_test(tc, what_passes_only_its_check_makes_the_pause_grow_on);
    tcase_add_test(tc, no_minute_of_an_outage_passes_in_silence);
    tcase_add_test(tc, an_outage_that_lasts_is_logged_again_and_again_with_growing_pauses);
    tcase_add_test(tc, a_pause_that_was_asked_for_holds_for_the_whole_outage);
    tcase_add_test(tc, latecomers_do_not_prolong_a_pause);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
