/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever is at fault is found, nothing else is, and what passed is left alone. */
#include "common/bisect.h"
#include "unit.h"

#include <string.h>

#define MOST 600

static bool bad[MOST];
static bool found[MOST];
static bool passed[MOST];

/* Searches n items of which `bad` says which are at fault; the number of tries. */
static size_t search(size_t n)
{
    struct bisect b;
    size_t from, count, tries = 0;
    memset(found, 0, sizeof found);
    memset(passed, 0, sizeof passed);
    bisect_begin(&b, n);
    for (; bisect_range(&b, &from, &count); tries++) {
        bool fails = false;
        ck_assert_uint_ge(count, 1);
        ck_assert_uint_le(from + count, n);
        for (size_t i = from; i < from + count; i++) {
            ck_assert(!passed[i] && !found[i]);
            fails |= bad[i];
        }
        if (!fails) {
            memset(passed + from, true, count);
            bisect_passed(&b);
        } else if (bisect_failed(&b)) {
            found[from] = true;
        }
    }
    ck_assert_int_eq(memcmp(found, bad, n), 0);
    return tries;
}

START_TEST(every_choice_of_a_few_is_found)
{
    for (size_t n = 0; n <= 8; n++)
        for (size_t mask = 0; mask < (size_t)1 << n; mask++) {
            for (size_t i = 0; i < n; i++)
                bad[i] = mask >> i & 1;
            search(n);
        }
}
END_TEST

START_TEST(one_among_many_costs_few_tries)
{
    for (size_t i = 0; i < MOST; i++) {
        memset(bad, 0, sizeof bad);
        bad[i] = true;
        ck_assert_uint_le(search(MOST), 2 * 10 + 2); /* 10: log2 of 600 */
    }
}
END_TEST

START_TEST(many_do_not_make_each_other_expensive)
{
    memset(bad, true, sizeof bad);
    ck_assert_uint_le(search(MOST), MOST + 11);
    for (size_t i = 0; i < MOST; i++)
        bad[i] = i % 2 == 0;
    ck_assert_uint_le(search(MOST), 3 * MOST);
    for (size_t i = 0; i < MOST; i++)
        bad[i] = i % 3 == 0;
    ck_assert_uint_le(search(MOST), 3 * MOST);
}
END_TEST

START_TEST(nothing_at_fault_is_one_try)
{
    memset(bad, 0, sizeof bad);
    ck_assert_uint_eq(search(MOST), 1);
    ck_assert_uint_eq(search(0), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bisect");
    TCase *tc = tcase_create("bisect");
    tcase_add_test(tc, every_choice_of_a_few_is_found);
    tcase_add_test(tc, one_among_many_costs_few_tries);
    tcase_add_test(tc, many_do_not_make_each_other_expensive);
    tcase_add_test(tc, nothing_at_fault_is_one_try);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
