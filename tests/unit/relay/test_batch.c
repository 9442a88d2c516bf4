/* SPDX-License-Identifier: Apache-2.0 */
/* A batch's queue, and the lease that it is worked on under. */
#include "base/clock.h"
#include "relay/batch.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <string.h>

static struct outbox_message messages[3] = {{.seq = 1}, {.seq = 2}, {.seq = 2}};
static const struct outbox_message *const msgs[3] = {&messages[0], &messages[1], &messages[2]};
static struct outbox_batch claimed = {.size = sizeof claimed, .n = 3, .messages = msgs};
static struct batch batch;
static struct lease *const lease = &batch.lease;

static void set_up(void)
{
    ck_assert_int_eq(batch_init(&batch, 3), 0);
    ck_assert_int_eq(batch_take(&batch, &claimed), 0);
}

static void tear_down(void)
{
    batch_clear(&batch);
    batch_free(&batch);
}

START_TEST(items_are_queued_in_order_with_their_index)
{
    for (uint32_t i = 3; i-- > 0;)
        batch_queue(&batch, i, i, &(struct outbox_settle){.action = OUTBOX_SETTLE_DONE});
    ck_assert_uint_eq(batch.n_items, 3);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(batch.item_ptrs[i]->index, 2 - i);
        ck_assert_uint_eq(batch.item_publishers[i], 2 - i);
        ck_assert_uint_eq(batch.item_ptrs[i]->size, sizeof(struct outbox_settle));
    }
    batch.deferred_ms = 7;
    batch_forget_items(&batch);
    ck_assert_uint_eq(batch.n_items, 0);
    ck_assert_int_eq(batch.deferred_ms, 0);
}
END_TEST

START_TEST(kept_reasons_outlive_the_publishers)
{
    char borrowed[] = "first";
    batch_queue(&batch, 0, 0, &(struct outbox_settle){.reason = outbox_cstr(borrowed)});
    batch_queue(&batch, 1, 0, &(struct outbox_settle){.action = OUTBOX_SETTLE_DONE});
    batch_keep_reasons(&batch);
    memcpy(borrowed, "other", sizeof borrowed);
    batch_queue(&batch, 2, 0, &(struct outbox_settle){.reason = outbox_cstr(borrowed)});
    batch_keep_reasons(&batch);
    memcpy(borrowed, "third", sizeof borrowed);
    ck_assert(outbox_str_eq(batch.items[0].reason, outbox_cstr("first")));
    ck_assert(batch.items[1].reason.p == NULL);
    ck_assert(outbox_str_eq(batch.items[2].reason, outbox_cstr("other")));
}
END_TEST

START_TEST(a_store_that_claims_too_much_or_out_of_order_is_broken)
{
    struct batch small;
    const struct outbox_message *const unordered[3] = {&messages[0], &messages[2], &messages[0]};
    struct outbox_batch wrong = {.size = sizeof wrong, .n = 3, .messages = unordered};
    ck_assert_int_eq(batch_take(&batch, &wrong), OUTBOX_E_BROKEN);
    wrong.n = 2;
    ck_assert_int_eq(batch_take(&batch, &wrong), 0);
    ck_assert_int_eq(batch_init(&small, 2), 0);
    ck_assert_int_eq(batch_take(&small, &claimed), OUTBOX_E_BROKEN);
    batch_free(&small);
}
END_TEST

START_TEST(a_lease_is_valid_until_its_end_and_renewed_only_while_it_is_the_same)
{
    char buffer[LEASE_MAX];
    int64_t now = clock_monotonic_us(), later = now + 60000000;
    ck_assert(lease_is_valid(lease)); /* nothing that could end */
    ck_assert(lease_copy(lease, buffer).p == NULL);
    lease_set(lease, outbox_cstr("one"), now);
    ck_assert(!lease_is_valid(lease));
    ck_assert(outbox_str_eq(lease_copy(lease, buffer), outbox_cstr("one")));
    lease_renewed(lease, outbox_cstr("another"), later);
    ck_assert(!lease_is_valid(lease));
    lease_renewed(lease, outbox_cstr("one"), later);
    ck_assert(lease_is_valid(lease));
    lease_set(lease, (struct outbox_str){NULL, 0}, 0);
    ck_assert(lease_copy(lease, buffer).p == NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("batch");
    TCase *tc = tcase_create("batch");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, items_are_queued_in_order_with_their_index);
    tcase_add_test(tc, kept_reasons_outlive_the_publishers);
    tcase_add_test(tc, a_store_that_claims_too_much_or_out_of_order_is_broken);
    tcase_add_test(tc, a_lease_is_valid_until_its_end_and_renewed_only_while_it_is_the_same);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
