/* SPDX-License-Identifier: Apache-2.0 */
/* A refused row is left alone for longer and longer, and is forgotten when it is well. */
#include "common/quarantine.h"
#include "unit.h"

#define MINUTE INT64_C(60000000)

static struct quarantine q;

static size_t n_active(int64_t now_us)
{
    size_t n;
    quarantine_active(&q, now_us, &n);
    return n;
}

START_TEST(a_pause_doubles_up_to_an_hour)
{
    int64_t now = 0, want_ms = 60000;
    q = (struct quarantine){0};
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(quarantine_add(&q, 7, now, "no"), want_ms);
        ck_assert(quarantine_has(&q, 7, now + want_ms * 1000 - 1));
        now += want_ms * 1000;
        ck_assert(!quarantine_has(&q, 7, now));
        want_ms = want_ms * 2 > 3600000 ? 3600000 : want_ms * 2;
    }
    ck_assert_str_eq(q.reason, "no");
}
END_TEST

START_TEST(a_row_that_is_well_is_forgotten)
{
    q = (struct quarantine){0};
    quarantine_add(&q, 7, 0, "no");
    ck_assert_int_eq(quarantine_add(&q, 7, 2 * MINUTE, "no"), 60000); /* was well for a minute */
    quarantine_remove(&q, 7);
    quarantine_remove(&q, 8);
    ck_assert(!quarantine_has(&q, 7, 2 * MINUTE));
    ck_assert_int_eq(quarantine_add(&q, 7, 2 * MINUTE, "no"), 60000);
}
END_TEST

START_TEST(rows_are_rising_and_bounded)
{
    size_t n;
    q = (struct quarantine){0};
    for (int64_t i = 0; i < QUARANTINE_MAX; i++)
        ck_assert_int_gt(quarantine_add(&q, (i * 7919) % QUARANTINE_MAX, i, "no"), 0);
    ck_assert_int_eq(quarantine_add(&q, QUARANTINE_MAX, 1, "no"), 0);
    ck_assert_int_gt(quarantine_add(&q, 3, 1, "no"), 0); /* known already */
    const int64_t *active = quarantine_active(&q, 1, &n);
    ck_assert_uint_eq(n, QUARANTINE_MAX);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(active[i], (int64_t)i);
    ck_assert_uint_eq(n_active(10 * MINUTE), 0);
    ck_assert_int_gt(quarantine_add(&q, QUARANTINE_MAX, 10 * MINUTE, "no"), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("quarantine");
    TCase *tc = tcase_create("quarantine");
    tcase_add_test(tc, a_pause_doubles_up_to_an_hour);
    tcase_add_test(tc, a_row_that_is_well_is_forgotten);
    tcase_add_test(tc, rows_are_rising_and_bounded);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
