/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker does, and when that is to be shown or told. */
#include "base/clock.h"
#include "policy/activity.h"
#include "unit.h"

static struct activity activity;

static void set_up(void)
{
    activity_init(&activity);
}

static void tear_down(void)
{
    activity_destroy(&activity);
}

/* The same, so much later. */
static int64_t after(const struct activity_view *view, int64_t us)
{
    return view->since_us + us;
}

START_TEST(an_idle_worker_is_neither_slow_nor_stalled)
{
    struct activity_view view = activity_snapshot(&activity);
    ck_assert(!activity_is_slow(&view, after(&view, INT64_C(3600000000))));
    ck_assert(!activity_is_stalled(&view, after(&view, INT64_C(3600000000))));
    ck_assert_int_eq(view.moved_wall_us, 0);
}
END_TEST

START_TEST(a_step_that_lasts_is_slow_and_after_a_minute_stalled)
{
    activity_begin(&activity, ACTIVITY_PUBLISHING, 7);
    struct activity_view view = activity_snapshot(&activity);
    ck_assert_uint_eq(view.publisher, 7);
    ck_assert(!activity_is_slow(&view, after(&view, ACTIVITY_SLOW_US - 1)));
    ck_assert(activity_is_slow(&view, after(&view, ACTIVITY_SLOW_US)));
    view.moved_us = view.since_us;
    ck_assert(!activity_is_stalled(&view, after(&view, ACTIVITY_STALLED_US - 1)));
    ck_assert(activity_is_stalled(&view, after(&view, ACTIVITY_STALLED_US)));
}
END_TEST

START_TEST(short_steps_that_settle_nothing_are_stalled_too)
{
    activity.now.moved_us -= ACTIVITY_STALLED_US;
    activity_begin(&activity, ACTIVITY_CLAIMING, 0);
    activity_begin(&activity, ACTIVITY_SETTLING, 0);
    struct activity_view view = activity_snapshot(&activity);
    ck_assert(!activity_is_slow(&view, view.since_us));
    ck_assert(activity_is_stalled(&view, view.since_us));
    activity_moved(&activity);
    view = activity_snapshot(&activity);
    ck_assert(!activity_is_stalled(&view, view.since_us));
    ck_assert_int_ne(view.moved_wall_us, 0);
}
END_TEST

START_TEST(every_step_has_its_words)
{
    for (enum activity_step step = ACTIVITY_IDLE; step <= ACTIVITY_RELEASING; step++) {
        ck_assert_ptr_nonnull(activity_name(step));
        ck_assert_ptr_nonnull(activity_verb(step));
    }
    ck_assert_str_eq(activity_name(ACTIVITY_RELEASING), "releasing");
    ck_assert_str_eq(activity_verb(ACTIVITY_RELEASING), "releases");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("activity");
    TCase *tc = tcase_create("activity");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, an_idle_worker_is_neither_slow_nor_stalled);
    tcase_add_test(tc, a_step_that_lasts_is_slow_and_after_a_minute_stalled);
    tcase_add_test(tc, short_steps_that_settle_nothing_are_stalled_too);
    tcase_add_test(tc, every_step_has_its_words);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
