/* SPDX-License-Identifier: Apache-2.0 */
/* What the host makes of the results of plugins. */
#include "plugin/guard.h"
#include "unit.h"

#include <string.h>

static const struct plugin plugin = {.desc = {.kind = OUTBOX_KIND_STORE, .name = "x"}};
static const struct instance instance = {.plugin = &plugin, .label = "store"};

START_TEST(a_reason_without_an_end_gets_one)
{
    struct outbox_err err = {.size = sizeof err};
    memset(err.text, 'x', sizeof err.text);
    ck_assert_int_eq(guard_result(&instance, OUTBOX_E_RETRY, &err), OUTBOX_E_RETRY);
    ck_assert_uint_eq(strnlen(err.text, sizeof err.text), sizeof err.text - 1);
}
END_TEST

START_TEST(a_missing_reason_and_an_unknown_class_are_replaced)
{
    struct outbox_err err = {.size = sizeof err};
    ck_assert_int_eq(guard_result(&instance, -99, &err), OUTBOX_E_RETRY);
    ck_assert_str_eq(err.text, "store-x failed without a reason");
    ck_assert_int_eq(guard_result(&instance, -99, NULL), OUTBOX_E_RETRY);
    ck_assert_int_eq(guard_result(&instance, 7, &err), OUTBOX_OK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("guard");
    TCase *tc = tcase_create("guard");
    tcase_add_test(tc, a_reason_without_an_end_gets_one);
    tcase_add_test(tc, a_missing_reason_and_an_unknown_class_are_replaced);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
