/* SPDX-License-Identifier: Apache-2.0 */
/* Waits grow, are capped, and differ. */
#include "common/backoff.h"
#include "unit.h"

#include <stdbool.h>

START_TEST(backoff_doubles_and_is_capped)
{
    ck_assert_int_eq(backoff_bound_ms(1000, 300000, 0), 1000);
    ck_assert_int_eq(backoff_bound_ms(1000, 300000, 3), 8000);
    ck_assert_int_eq(backoff_bound_ms(1000, 300000, 20), 300000);
    ck_assert_int_eq(backoff_bound_ms(1000, 300000, UINT32_MAX), 300000);
    ck_assert_int_eq(backoff_bound_ms(1, INT64_MAX, 62), INT64_MAX);
    ck_assert_int_eq(backoff_bound_ms(5000, 1000, 0), 1000);
}
END_TEST

START_TEST(messages_wait_for_the_minimum_and_servers_for_half)
{
    bool low = false, high = false;
    for (int i = 0; i < 1000; i++) {
        int64_t retry = backoff_ms(1000, 300000, 1, BACKOFF_FLOOR);
        int64_t pause = backoff_ms(1000, 300000, 1, BACKOFF_UPPER);
        ck_assert(retry >= 1000 && retry <= 4000);
        ck_assert(pause >= 1000 && pause <= 2000);
        low |= retry < 2000;
        high |= retry > 3000;
    }
    ck_assert(low && high);
}
END_TEST

START_TEST(the_first_retries_differ_too)
{
    bool low = false, high = false;
    for (int i = 0; i < 1000; i++) {
        int64_t retry = backoff_ms(1000, 300000, 0, BACKOFF_FLOOR);
        ck_assert(retry >= 1000 && retry <= 2000);
        low |= retry < 1300;
        high |= retry > 1700;
    }
    ck_assert(low && high);
}
END_TEST

START_TEST(the_least_waits_stay_waits)
{
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(backoff_ms(1, 1, 0, BACKOFF_FLOOR), 1);
        ck_assert_int_eq(backoff_ms(15000, 15000, 3, BACKOFF_FLOOR), 15000);
        ck_assert_int_eq(backoff_ms(5000, 1000, 0, BACKOFF_FLOOR), 1000);
        ck_assert_int_le(backoff_ms(1, 1, 0, BACKOFF_UPPER), 1);
        ck_assert_int_ge(backoff_ms(1, INT64_MAX, 63, BACKOFF_UPPER), INT64_MAX / 2);
        ck_assert_int_ge(backoff_ms(1, INT64_MAX, 63, BACKOFF_FLOOR), 1);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("backoff");
    TCase *tc = tcase_create("backoff");
    tcase_add_test(tc, backoff_doubles_and_is_capped);
    tcase_add_test(tc, messages_wait_for_the_minimum_and_servers_for_half);
    tcase_add_test(tc, the_first_retries_differ_too);
    tcase_add_test(tc, the_least_waits_stay_waits);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
