/* SPDX-License-Identifier: Apache-2.0 */
/* What a publisher's outcomes make of messages. */
#include "policy/outcome.h"
#include "unit.h"

#include <outbox/helpers.h>

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
    ck_assert(s.delay_ms >= 10 && s.delay_ms <= 40);
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

START_TEST(the_reason_is_the_publishers_or_says_that_there_is_none)
{
    struct outcome_terms terms = {.delivery = &delivery, .store_delays = true};
    struct outbox_message m = {.size = sizeof m};
    struct outbox_outcome o = {.size = sizeof o, .verdict = OUTBOX_REJECTED};
    struct outbox_settle s;
    ck_assert(outcome_settle(&terms, &m, &o, &s));
    ck_assert(outbox_str_eq(s.reason, outbox_cstr("the publisher gave no reason")));
    o.reason = outbox_cstr("too red");
    ck_assert(outcome_settle(&terms, &m, &o, &s));
    ck_assert(s.reason.p == o.reason.p);
    /* A row that waits says why; one whose publisher is unavailable says what it said before. */
    o = (struct outbox_outcome){.size = sizeof o, .verdict = OUTBOX_LATER};
    ck_assert(outcome_settle(&terms, &m, &o, &s));
    ck_assert_uint_eq(s.flags, OUTBOX_SETTLE_REASON);
    ck_assert(
        outbox_str_eq(s.reason, outbox_cstr("the publisher asked to wait, and gave no reason")));
    o.verdict = OUTBOX_UNAVAILABLE;
    ck_assert(outcome_settle(&terms, &m, &o, &s));
    ck_assert_uint_eq(s.flags, 0);
}
END_TEST

START_TEST(later_is_when_the_publisher_says_or_after_the_shortest_retry)
{
    struct outcome_terms terms = {.delivery = &delivery, .store_delays = true};
    struct outbox_message m = {.size = sizeof m};
    struct outbox_outcome o = {.size = sizeof o, .verdict = OUTBOX_LATER, .after_ms = 4711};
    struct outbox_settle s;
    ck_assert(outcome_settle(&terms, &m, &o, &s));
    ck_assert_int_eq(s.delay_ms, 4711);
    o.after_ms = UINT32_MAX;
    ck_assert(outcome_settle(&terms, &m, &o, &s));
    ck_assert_int_eq(s.delay_ms, OUTBOX_AFTER_MAX_MS);
    o.after_ms = 0;
    ck_assert(outcome_settle(&terms, &m, &o, &s));
    ck_assert_int_eq(s.delay_ms, delivery.retry_min_ms);
}
END_TEST

START_TEST(what_the_database_refuses_is_a_charged_attempt)
{
    struct outbox_message m = {.size = sizeof m, .retries = 1};
    struct outbox_settle s = {.action = OUTBOX_SETTLE_DONE};
    outcome_add_second(&delivery, &m, &s);
    ck_assert_uint_eq(s.action, OUTBOX_SETTLE_DONE);
    ck_assert_uint_eq(s.refused_action, OUTBOX_SETTLE_RETRY);
    ck_assert_uint_eq(s.refused_flags, OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON);
    ck_assert(s.refused_delay_ms >= 10 && s.refused_delay_ms <= 40);
    m.retries = 2; /* the third attempt was the last */
    outcome_add_second(&delivery, &m, &s);
    ck_assert_uint_eq(s.refused_action, OUTBOX_SETTLE_FAILED);
    ck_assert_int_eq(s.refused_delay_ms, 0);
}
END_TEST

START_TEST(what_is_done_is_deleted_where_nothing_is_retained)
{
    struct outcome_terms terms = {.delivery = &delivery, .delete_done = true};
    struct outbox_message m = {.size = sizeof m};
    struct outbox_outcome o = {.size = sizeof o, .verdict = OUTBOX_ACCEPTED};
    struct outbox_settle s;
    ck_assert(outcome_settle(&terms, &m, &o, &s));
    ck_assert_uint_eq(s.flags, OUTBOX_SETTLE_DELETE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("outcome");
    TCase *tc = tcase_create("outcome");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, outcomes_become_actions);
    tcase_add_test(tc, what_is_not_known_goes_back_as_it_is);
    tcase_add_test(tc, the_reason_is_the_publishers_or_says_that_there_is_none);
    tcase_add_test(tc, later_is_when_the_publisher_says_or_after_the_shortest_retry);
    tcase_add_test(tc, what_the_database_refuses_is_a_charged_attempt);
    tcase_add_test(tc, what_is_done_is_deleted_where_nothing_is_retained);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
