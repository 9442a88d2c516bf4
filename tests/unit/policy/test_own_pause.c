/* SPDX-License-Identifier: Apache-2.0 */
/* What fails for one worker only. */
#include "policy/own_pause.h"
#include "unit.h"

#define SECOND INT64_C(1000000)

START_TEST(a_failure_is_ones_own_when_it_passed_for_another_since_the_one_before)
{
    struct own_pause p = {.passed = true};
    bool told = false;
    ck_assert(!own_pause_failed(&p, 9 * SECOND, 0, 10 * SECOND, &told)); /* it may be an outage */
    ck_assert(!own_pause_failed(&p, 9 * SECOND, 0, 11 * SECOND, &told)); /* for all of them */
    ck_assert(own_pause_failed(&p, 12 * SECOND, 0, 13 * SECOND, &told));
    ck_assert(told);
    ck_assert(
        !own_pause_failed(&p, 12 * SECOND, 0, 14 * SECOND, &told)); /* since then for nobody */
}
END_TEST

START_TEST(one_that_never_passed_while_it_passes_for_others_has_trouble_of_its_own)
{
    struct own_pause p = {0}, late = {0}, early = {0};
    bool told;
    ck_assert(!own_pause_failed(&p, 0, 0, 10 * SECOND, &told)); /* nobody has passed yet */
    ck_assert(!own_pause_failed(&late, 9 * SECOND, 0, 10 * SECOND, &told));
    ck_assert(own_pause_failed(&early, 9 * SECOND + 1, 0, 10 * SECOND, &told));
}
END_TEST

START_TEST(its_pause_grows_until_it_passes)
{
    struct own_pause p = {.failed_us = 1};
    bool told;
    for (int64_t least = 250; least < 4000; least *= 2) {
        int64_t now = p.failed_us + 2;
        ck_assert(own_pause_failed(&p, now - 1, 0, now, &told));
        ck_assert_int_ge(p.until_us, now + least * 1000);
        ck_assert_int_le(p.until_us, now + 5 * SECOND);
        ck_assert_int_eq(told, least == 250);
    }
    int64_t now = p.failed_us + 2;
    p.failures = 0;
    ck_assert(own_pause_failed(&p, now - 1, 15000, now, &told)); /* it asked for it */
    ck_assert_int_eq(p.until_us, now + 5 * SECOND);
    own_pause_passed(&p);
    ck_assert(!own_pause_failed(&p, SECOND, 0, 2 * SECOND, &told));
    ck_assert_int_eq(p.until_us, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("own_pause");
    TCase *tc = tcase_create("own_pause");
    tcase_add_test(tc, a_failure_is_ones_own_when_it_passed_for_another_since_the_one_before);
    tcase_add_test(tc, one_that_never_passed_while_it_passes_for_others_has_trouble_of_its_own);
    tcase_add_test(tc, its_pause_grows_until_it_passes);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
