/* SPDX-License-Identifier: Apache-2.0 */
/* A store instance that says it is broken is opened anew by its next call, but not while it may
 * hold a batch. */
#include "plugin/store.h"
#include "unit.h"

#include <outbox/helpers.h>

static int opened, closed, answer, open_answer;
static struct store store;
static struct outbox_err err = {.size = sizeof err};

static int open_fake(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                     struct outbox_err *why)
{
    (void)host;
    (void)cfg;
    opened++;
    *ret = &store;
    return open_answer < 0 ? outbox_fail(why, open_answer, "no more of them") : OUTBOX_OK;
}

static void close_fake(void *self)
{
    (void)self;
    closed++;
}

static int check(void *self, const struct outbox_call *call, struct outbox_err *why)
{
    (void)self;
    (void)call;
    (void)why;
    return answer;
}

static int release(void *self, struct outbox_batch *batch, const struct outbox_call *call,
                   struct outbox_err *why)
{
    (void)self;
    (void)batch;
    (void)call;
    (void)why;
    return answer;
}

static const struct plugin plugin = {
    .desc = {.kind = OUTBOX_KIND_STORE, .name = "fake"},
    .ops.store = {.open = open_fake, .close = close_fake, .check = check, .release = release}};

static void set_up(void)
{
    ck_assert_int_eq(store_open(&store, &plugin, NULL, NULL, &err), 0);
}

static void tear_down(void)
{
    store_close(&store);
    ck_assert_int_eq(opened - (open_answer < 0), closed);
}

START_TEST(a_broken_store_is_opened_anew_by_the_next_call)
{
    answer = OUTBOX_E_BROKEN;
    ck_assert_int_eq(store_check(&store, NULL, &err), OUTBOX_E_BROKEN);
    ck_assert_int_eq(opened, 1);
    answer = OUTBOX_OK;
    ck_assert_int_eq(store_check(&store, NULL, &err), OUTBOX_OK);
    ck_assert_int_eq(store_check(&store, NULL, &err), OUTBOX_OK);
    ck_assert_int_eq(opened, 2);
}
END_TEST

START_TEST(other_failures_leave_it_open)
{
    answer = OUTBOX_E_RETRY;
    ck_assert_int_eq(store_check(&store, NULL, &err), OUTBOX_E_RETRY);
    answer = OUTBOX_OK;
    ck_assert_int_eq(store_check(&store, NULL, &err), OUTBOX_OK);
    ck_assert_int_eq(opened, 1);
}
END_TEST

START_TEST(its_batch_is_released_by_the_instance_that_claimed_it)
{
    answer = OUTBOX_E_BROKEN;
    ck_assert_int_eq(store_check(&store, NULL, &err), OUTBOX_E_BROKEN);
    ck_assert_int_eq(store_release(&store, NULL, NULL, &err), OUTBOX_E_BROKEN);
    ck_assert_int_eq(opened, 1);
}
END_TEST

START_TEST(one_that_cannot_be_opened_says_why_and_is_tried_again)
{
    answer = OUTBOX_E_BROKEN;
    store_check(&store, NULL, &err);
    answer = OUTBOX_OK;
    open_answer = OUTBOX_E_RETRY;
    ck_assert_int_eq(store_check(&store, NULL, &err), OUTBOX_E_RETRY);
    ck_assert_str_eq(err.text, "store: no more of them");
    ck_assert_int_eq(store_check(&store, NULL, &err), OUTBOX_E_RETRY);
    open_answer = OUTBOX_OK;
    ck_assert_int_eq(store_check(&store, NULL, &err), OUTBOX_OK);
    ck_assert_int_eq(opened, 4);
    closed += 2; /* they were never open */
}
END_TEST

START_TEST(a_closed_store_stays_closed)
{
    answer = OUTBOX_E_BROKEN;
    store_check(&store, NULL, &err);
    store_close(&store);
    ck_assert_int_eq(store_check(&store, NULL, &err), OUTBOX_E_BROKEN);
    ck_assert_int_eq(opened, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store");
    TCase *tc = tcase_create("store");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_broken_store_is_opened_anew_by_the_next_call);
    tcase_add_test(tc, other_failures_leave_it_open);
    tcase_add_test(tc, its_batch_is_released_by_the_instance_that_claimed_it);
    tcase_add_test(tc, one_that_cannot_be_opened_says_why_and_is_tried_again);
    tcase_add_test(tc, a_closed_store_stays_closed);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
