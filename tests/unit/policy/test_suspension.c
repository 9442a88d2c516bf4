/* SPDX-License-Identifier: Apache-2.0 */
/* Pauses, the bell, and what outcomes make of messages. */
#include "base/clock.h"
#include "base/wakeup.h"
#include "policy/outcome.h"
#include "policy/suspension.h"
#include "policy/unrouted_gauge.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <pthread.h>

START_TEST(one_tries_and_the_others_leave_it_alone)
{
    struct suspension pause;
    int64_t ms;
    suspension_init(&pause);
    ck_assert_int_eq(suspension_enter(&pause, NULL), 0);
    ck_assert(suspension_failed(&pause, 1, "down", 4, &ms));
    ck_assert_int_ge(ms, 1);
    ck_assert(suspension_snapshot(&pause).paused);
    ck_assert_str_eq(suspension_snapshot(&pause).reason, "down");
    for (int64_t end = clock_monotonic_us() + 5000000; suspension_enter(&pause, NULL) > 0;)
        ck_assert_int_lt(clock_monotonic_us(), end);
    ck_assert_int_gt(suspension_enter(&pause, NULL), 0); /* somebody is trying */
    ck_assert(!suspension_failed(&pause, 60000, "still", 5, &ms));
    ck_assert_int_gt(ms, 50000);
    ck_assert_int_gt(suspension_enter(&pause, NULL), 50000);
    ck_assert(suspension_passed(&pause));
    ck_assert(!suspension_passed(&pause));
    ck_assert_int_eq(suspension_enter(&pause, NULL), 0);
    suspension_destroy(&pause);
}
END_TEST

START_TEST(another_reason_is_news_once_and_not_at_every_turn)
{
    struct suspension pause;
    int64_t ms;
    suspension_init(&pause);
    ck_assert(suspension_failed(&pause, 1, "closed", 6, &ms));
    ck_assert(!suspension_failed(&pause, 1, "refused", 7, &ms)); /* a moment later */
    pause.told_us -= 6000000;
    ck_assert(!suspension_failed(&pause, 1, "closed", 6, &ms));
    ck_assert(suspension_failed(&pause, 1, "refused", 7, &ms));
    pause.told_us -= 6000000;
    ck_assert(!suspension_failed(&pause, 1, "refused", 7, &ms));
    suspension_passed(&pause);
    ck_assert(suspension_failed(&pause, 1, "refused", 7, &ms));
    suspension_destroy(&pause);
}
END_TEST

/* Its own word is not proof: what fails at the next message has never been in order. */
START_TEST(what_only_says_that_it_is_in_order_makes_the_pause_grow_on)
{
    struct suspension pause;
    int64_t ms;
    suspension_init(&pause);
    ck_assert(!suspension_check_ok(&pause, true)); /* it was never out of order */
    ck_assert(suspension_failed(&pause, 0, "down", 4, &ms));
    int64_t began_us = pause.began_us;
    for (int64_t least = 500; least < 8000; least *= 2) {
        pause.until_us = 0;
        ck_assert_int_eq(suspension_enter(&pause, NULL), 0);
        ck_assert(suspension_check_ok(&pause, false));
        ck_assert(!suspension_check_ok(&pause, false));
        ck_assert(!suspension_snapshot(&pause).paused);
        ck_assert_int_eq(suspension_enter(&pause, NULL), 0);
        ck_assert_int_gt(suspension_enter(&pause, NULL), 0); /* still only one tries */
        ck_assert(!suspension_failed(&pause, 0, "down", 4, &ms));
        ck_assert_int_ge(ms, least);
        ck_assert(suspension_snapshot(&pause).began_us == began_us);
    }
    suspension_check_ok(&pause, true);
    ck_assert(suspension_failed(&pause, 0, "down", 4, &ms)); /* for it was told to be back */
    suspension_check_ok(&pause, true);
    ck_assert(!suspension_passed(&pause)); /* that was told already */
    ck_assert(suspension_failed(&pause, 0, "down", 4, &ms));
    ck_assert_int_le(ms, 500);
    suspension_check_ok(&pause, false);
    pause.asked_us -= 61000000;
    ck_assert(suspension_failed(&pause, 0, "down", 4, &ms)); /* another outage */
    ck_assert_int_le(ms, 500);
    suspension_destroy(&pause);
}
END_TEST

/* Brokers lock out who insists on a wrong password; see decision 59. */
START_TEST(a_pause_that_was_asked_for_holds_for_the_whole_outage)
{
    struct suspension pause;
    int64_t ms;
    suspension_init(&pause);
    suspension_failed(&pause, 15000, "refused", 7, &ms);
    for (int i = 0; i < 3; i++) {
        pause.until_us = 0;
        ck_assert_int_eq(suspension_enter(&pause, NULL), 0);
        suspension_failed(&pause, 0, "refused", 7, &ms);
        ck_assert_int_ge(ms, 15000);
    }
    suspension_passed(&pause);
    suspension_failed(&pause, 0, "down", 4, &ms);
    ck_assert_int_le(ms, 500);
    suspension_destroy(&pause);
}
END_TEST

START_TEST(latecomers_do_not_prolong_a_pause)
{
    struct suspension pause;
    int64_t first, second;
    suspension_init(&pause);
    suspension_failed(&pause, 1000, "down", 4, &first);
    suspension_failed(&pause, 60000, "down", 4,
                      &second); /* it was under way when the first failed */
    ck_assert_int_le(second, 1000);
    suspension_destroy(&pause);
}
END_TEST

static void *ring_later(void *bell)
{
    wakeup_signal(bell);
    return NULL;
}

START_TEST(a_ring_wakes_and_is_not_lost)
{
    struct wakeup bell;
    pthread_t thread;
    wakeup_init(&bell, 1000);
    wakeup_signal(&bell); /* before anybody waits */
    wakeup_wait(&bell, INT64_MAX, INT64_MAX);
    ck_assert_int_eq(pthread_create(&thread, NULL, ring_later, &bell), 0);
    wakeup_wait(&bell, INT64_MAX, INT64_MAX);
    pthread_join(thread, NULL);
    int64_t now = clock_monotonic_us();
    wakeup_wait(&bell, now + 20000, INT64_MAX);
    ck_assert_int_ge(clock_monotonic_us(), now + 20000);
    now = clock_monotonic_us();
    wakeup_wait(&bell, INT64_MAX, now + 10000);
    ck_assert_int_ge(clock_monotonic_us(), now + 10000);
    wakeup_close(&bell);
    wakeup_wait(&bell, INT64_MAX, INT64_MAX);
    wakeup_destroy(&bell);
}
END_TEST

START_TEST(held_messages_are_gauged)
{
    struct unrouted_gauge held;
    unrouted_gauge_init(&held, 3600000);
    ck_assert_uint_eq(unrouted_gauge_snapshot(&held), 0);
    unrouted_gauge_count(&held);
    unrouted_gauge_count(&held);
    ck_assert_uint_eq(unrouted_gauge_snapshot(&held), 2);
    unrouted_gauge_destroy(&held);
}
END_TEST

/* ---- outcomes ---- */

static const struct delivery delivery = {.max_retries = 3, .retry_min_ms = 10, .retry_max_ms = 100};

static bool settle(uint32_t verdict, uint32_t retries, bool delays, struct outbox_settle *ret)
{
    struct outcome_terms terms = {.delivery = &delivery, .pause_ms = 77, .store_delays = delays};
    struct outbox_message m = {.size = sizeof m, .retries = retries};
    struct outbox_outcome o = {.size = sizeof o, .verdict = verdict, .reason = outbox_cstr("why")};
    return outcome_settle(&terms, &m, &o, ret);
}

START_TEST(outcomes_become_actions)
{
    struct outbox_settle s;
    ck_assert(settle(OUTBOX_ACCEPTED, 0, true, &s));
    ck_assert_uint_eq(s.action, OUTBOX_SETTLE_DONE);
    ck_assert_uint_eq(s.flags, 0);
    ck_assert(settle(OUTBOX_RETRY, 1, true, &s));
    ck_assert_uint_eq(s.action, OUTBOX_SETTLE_RETRY);
    ck_assert_uint_eq(s.flags, OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON);
    ck_assert(s.delay_ms >= 1 && s.delay_ms <= 20);
    ck_assert(settle(OUTBOX_RETRY, 2, true, &s)); /* the third attempt was the last */
    ck_assert_uint_eq(s.action, OUTBOX_SETTLE_FAILED);
    ck_assert(settle(OUTBOX_RETRY, UINT32_MAX, true, &s));
    ck_assert_uint_eq(s.action, OUTBOX_SETTLE_FAILED);
    ck_assert(settle(OUTBOX_REJECTED, 0, true, &s));
    ck_assert_uint_eq(s.action, OUTBOX_SETTLE_FAILED);
    ck_assert(settle(OUTBOX_LATER, 9, true, &s));
    ck_assert_uint_eq(s.action, OUTBOX_SETTLE_RETRY);
    ck_assert_uint_eq(s.flags, OUTBOX_SETTLE_REASON); /* not charged */
    ck_assert(settle(OUTBOX_UNAVAILABLE, 9, true, &s));
    ck_assert_uint_eq(s.action, OUTBOX_SETTLE_RETRY);
    ck_assert_int_eq(s.delay_ms, 77);
    ck_assert_uint_eq(s.flags & OUTBOX_SETTLE_CHARGE, 0);
}
END_TEST

START_TEST(what_is_not_known_goes_back_as_it_is)
{
    struct outbox_settle s;
    ck_assert(!settle(OUTBOX_UNSET, 0, true, &s));
    ck_assert(!settle(4711, 0, true, &s));
    ck_assert(!settle(OUTBOX_UNAVAILABLE, 0, false, &s));
    ck_assert(!settle(OUTBOX_LATER, 0, false, &s));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pause");
    TCase *tc = tcase_create("pause");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, one_tries_and_the_others_leave_it_alone);
    tcase_add_test(tc, another_reason_is_news_once_and_not_at_every_turn);
    tcase_add_test(tc, what_only_says_that_it_is_in_order_makes_the_pause_grow_on);
    tcase_add_test(tc, a_pause_that_was_asked_for_holds_for_the_whole_outage);
    tcase_add_test(tc, latecomers_do_not_prolong_a_pause);
    tcase_add_test(tc, a_ring_wakes_and_is_not_lost);
    tcase_add_test(tc, held_messages_are_gauged);
    tcase_add_test(tc, outcomes_become_actions);
    tcase_add_test(tc, what_is_not_known_goes_back_as_it_is);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
