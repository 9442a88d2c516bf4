/* SPDX-License-Identifier: Apache-2.0 */
/* How many unrouted messages are kept, from how often they come by. */
#include "policy/unrouted_gauge.h"
#include "unit.h"

/* A period is long, so that no test crosses its end by chance; its number is moved instead. */
static struct unrouted_gauge gauge;

static void set_up(void)
{
    unrouted_gauge_init(&gauge, 3600000);
}

static void tear_down(void)
{
    unrouted_gauge_destroy(&gauge);
}

static void count(int n)
{
    while (n-- > 0)
        unrouted_gauge_count(&gauge);
}

START_TEST(messages_are_counted)
{
    ck_assert_uint_eq(unrouted_gauge_snapshot(&gauge), 0);
    count(2);
    ck_assert_uint_eq(unrouted_gauge_snapshot(&gauge), 2);
}
END_TEST

START_TEST(the_last_period_counts_until_this_one_has_more)
{
    count(3);
    gauge.period--; /* that was the last one */
    ck_assert_uint_eq(unrouted_gauge_snapshot(&gauge), 3);
    count(1);
    ck_assert_uint_eq(unrouted_gauge_snapshot(&gauge), 3);
    count(3);
    ck_assert_uint_eq(unrouted_gauge_snapshot(&gauge), 4);
}
END_TEST

START_TEST(what_came_by_no_more_is_gone_after_two_periods)
{
    count(3);
    gauge.period -= 2;
    ck_assert_uint_eq(unrouted_gauge_snapshot(&gauge), 0);
    count(3);
    gauge.period--;
    count(1);
    gauge.period--;
    ck_assert_uint_eq(unrouted_gauge_snapshot(&gauge), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unrouted_gauge");
    TCase *tc = tcase_create("unrouted_gauge");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, messages_are_counted);
    tcase_add_test(tc, the_last_period_counts_until_this_one_has_more);
    tcase_add_test(tc, what_came_by_no_more_is_gone_after_two_periods);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
