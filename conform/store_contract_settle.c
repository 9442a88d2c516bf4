/* SPDX-License-Identifier: Apache-2.0 */
/* store_contract_settle.c - what becomes of claimed messages in the table. */
#include "conform/store_contract.h"

#include <stdlib.h>
#include <string.h>

#define T "outbox_messages"

/* One message, settled in this way. */
static void settle_one(struct outbox_settle how)
{
    produce(1);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 1);
    ck_assert_uint_eq(settle_all(the_store(), batch, how), 0);
    release(the_store(), batch);
}

START_TEST(done_messages_are_kept_as_processed)
{
    settle_one((struct outbox_settle){.action = OUTBOX_SETTLE_DONE});
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed' AND"
                            " processed_at IS NOT NULL AND retries = 0 AND last_error = ''"),
                     1);
}
END_TEST

START_TEST(done_messages_are_deleted_when_asked)
{
    settle_one((struct outbox_settle){.action = OUTBOX_SETTLE_DONE, .flags = OUTBOX_SETTLE_DELETE});
    ck_assert_int_eq(number("SELECT count(*) FROM " T), 0);
}
END_TEST

START_TEST(a_retry_is_charged_only_when_asked_and_keeps_its_reason)
{
    settle_one((struct outbox_settle){.action = OUTBOX_SETTLE_RETRY,
                                      .flags = OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON,
                                      .reason = str("no answer")});
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'pending' AND retries = 1"
                            " AND last_error = 'no answer' AND processed_at IS NULL"),
                     1);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 1);
    ck_assert_uint_eq(batch->messages[0]->retries, 1);
    settle_all(the_store(), batch, (struct outbox_settle){.action = OUTBOX_SETTLE_RETRY});
    release(the_store(), batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'pending' AND retries = 1"
                            " AND last_error = 'no answer'"),
                     1);
}
END_TEST

/* Whether the batch is settled at once or message by message. */
START_TEST(what_is_processed_has_no_last_error)
{
    for (uint32_t flags = 0; flags <= OUTBOX_SETTLE_CHARGE; flags += OUTBOX_SETTLE_CHARGE) {
        settle_one((struct outbox_settle){.action = OUTBOX_SETTLE_RETRY,
                                          .flags = OUTBOX_SETTLE_REASON,
                                          .reason = str("no answer")});
        struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
        ck_assert_uint_eq(batch->n, 1);
        settle_all(the_store(), batch,
                   (struct outbox_settle){.action = OUTBOX_SETTLE_DONE, .flags = flags});
        release(the_store(), batch);
        ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed' AND"
                                " last_error = '' AND retries = %d",
                                flags != 0),
                         1);
    }
}
END_TEST

START_TEST(a_failed_message_is_kept_and_not_claimed)
{
    settle_one((struct outbox_settle){.action = OUTBOX_SETTLE_FAILED,
                                      .flags = OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON,
                                      .reason = str("it's no good")});
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'failed' AND retries = 1"
                            " AND last_error = 'it''s no good' AND processed_at IS NULL"),
                     1);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 0);
    release(the_store(), batch);
}
END_TEST

START_TEST(any_reason_fits_the_column)
{
    size_t n = 1 << 20;
    char *reason = malloc(n);
    ck_assert_ptr_nonnull(reason);
    memset(reason, 'x', n);
    memcpy(reason, "bad \xFF\0 end", 10);
    settle_one((struct outbox_settle){
        .action = OUTBOX_SETTLE_FAILED, .flags = OUTBOX_SETTLE_REASON, .reason = {reason, n}});
    free(reason);
    ck_assert_int_ge(number("SELECT length(last_error) FROM " T), 1000);
    ck_assert_int_le(number("SELECT length(last_error) FROM " T), 8192);
    assert_bytes("SELECT substr(last_error, 1, 10) FROM " T, "bad \xEF\xBF\xBD\xEF\xBF\xBD end",
                 14);
}
END_TEST

START_TEST(a_batch_is_settled_in_parts_and_in_different_ways)
{
    static const uint32_t actions[] = {OUTBOX_SETTLE_DONE, OUTBOX_SETTLE_FAILED,
                                       OUTBOX_SETTLE_RETRY, OUTBOX_SETTLE_DONE};
    struct outbox_err err = {.size = sizeof err};
    if (!(the_store()->capabilities & OUTBOX_STORE_PARTIAL))
        return; /* locks end with the first part */
    produce(5);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    for (uint32_t i = 0; i < 4; i += 2) {
        struct outbox_settle items[2];
        const struct outbox_settle *pointers[] = {&items[0], &items[1]};
        uint8_t stale[2] = {7, 7};
        for (uint32_t k = 0; k < 2; k++)
            items[k] = (struct outbox_settle){
                .size = sizeof items[k], .index = 3 - i - k, .action = actions[3 - i - k]};
        if (i == 2)
            items[1].flags = OUTBOX_SETTLE_DELETE;
        assert_class(store_settle(the_store(), batch, pointers, 2, CALL, stale, &err), OUTBOX_OK,
                     &err);
        ck_assert_uint_eq(stale[0] + stale[1], 0);
    }
    release(the_store(), batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'pending'"), 2);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'failed'"), 1);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), 1);
    assert_bytes("SELECT payload FROM " T " WHERE status = 'processed'", "4", 1);
    assert_bytes("SELECT payload FROM " T " WHERE status = 'failed'", "2", 1);
}
END_TEST

START_TEST(a_batch_is_settled_in_different_ways_at_once)
{
    static const uint32_t actions[] = {OUTBOX_SETTLE_DONE, OUTBOX_SETTLE_FAILED,
                                       OUTBOX_SETTLE_RETRY, OUTBOX_SETTLE_DONE};
    struct outbox_err err = {.size = sizeof err};
    struct outbox_settle items[4];
    const struct outbox_settle *pointers[4];
    uint8_t stale[4] = {7, 7, 7, 7};
    produce(5);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    for (uint32_t i = 0; i < 4; i++) {
        items[i] = (struct outbox_settle){
            .size = sizeof items[i], .index = 3 - i, .action = actions[3 - i]};
        pointers[i] = &items[i];
    }
    items[3].flags = OUTBOX_SETTLE_DELETE;
    assert_class(store_settle(the_store(), batch, pointers, 4, CALL, stale, &err), OUTBOX_OK, &err);
    for (int i = 0; i < 4; i++)
        ck_assert_uint_eq(stale[i], 0);
    release(the_store(), batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'pending'"), 2);
    assert_bytes("SELECT payload FROM " T " WHERE status = 'processed'", "4", 1);
    assert_bytes("SELECT payload FROM " T " WHERE status = 'failed'", "2", 1);
}
END_TEST

/* A person, or another program, took single rows away in the middle of a batch. */
static void take_away(uint32_t action, uint32_t flags)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_settle items[5];
    const struct outbox_settle *pointers[5];
    uint8_t stale[5];
    produce(5);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 5);
    execute("DELETE FROM " T " WHERE seq = %lld", (long long)batch->messages[1]->seq);
    execute("DELETE FROM " T " WHERE seq = %lld", (long long)batch->messages[4]->seq);
    for (uint32_t i = 0; i < 5; i++) {
        items[i] = (struct outbox_settle){
            .size = sizeof items[i], .index = 4 - i, .action = action, .flags = flags};
        pointers[i] = &items[i];
    }
    assert_class(store_settle(the_store(), batch, pointers, 5, CALL, stale, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(stale[0], 1);
    ck_assert_uint_eq(stale[1], 0);
    ck_assert_uint_eq(stale[2], 0);
    ck_assert_uint_eq(stale[3], 1);
    ck_assert_uint_eq(stale[4], 0);
    release(the_store(), batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status IN ('pending','processing')"),
                     0);
    execute("DELETE FROM " T);
}

START_TEST(exactly_the_lost_messages_of_a_batch_are_stale)
{
    if (!(the_store()->capabilities & OUTBOX_STORE_RENEWS))
        return; /* locks keep others away */
    take_away(OUTBOX_SETTLE_DONE, OUTBOX_SETTLE_DELETE);
    take_away(OUTBOX_SETTLE_DONE, 0);
    take_away(OUTBOX_SETTLE_FAILED, OUTBOX_SETTLE_CHARGE);
}
END_TEST

START_TEST(nonsense_is_refused_and_changes_nothing)
{
    struct outbox_err err = {.size = sizeof err};
    produce(2);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    struct outbox_settle item = {.size = sizeof item, .index = 2, .action = OUTBOX_SETTLE_DONE};
    const struct outbox_settle *items[] = {&item};
    uint8_t stale[1];
    ck_assert_int_lt(store_settle(the_store(), batch, items, 1, CALL, stale, &err), 0);
    item.index = 0;
    item.action = 99;
    ck_assert_int_lt(store_settle(the_store(), batch, items, 1, CALL, stale, &err), 0);
    ck_assert_uint_ne(strlen(err.text), 0);
    release(the_store(), batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'pending'"), 2);
}
END_TEST

START_TEST(a_delay_may_be_as_long_as_it_likes)
{
    settle_one((struct outbox_settle){.action = OUTBOX_SETTLE_RETRY, .delay_ms = INT64_MAX});
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 0);
    ck_assert_int_gt(batch->next_due_ms, INT64_C(1000) * 86400 * 365);
    release(the_store(), batch);
}
END_TEST

void store_contract_settle(const struct kit_sink *sink)
{
    store_test(sink, done_messages_are_kept_as_processed, 0, 1);
    store_test(sink, done_messages_are_deleted_when_asked, 0, 1);
    store_test(sink, a_retry_is_charged_only_when_asked_and_keeps_its_reason, 0, 1);
    store_test(sink, what_is_processed_has_no_last_error, 0, 1);
    store_test(sink, a_failed_message_is_kept_and_not_claimed, 0, 1);
    store_test(sink, any_reason_fits_the_column, 0, 1);
    store_test(sink, a_batch_is_settled_in_parts_and_in_different_ways, 0, 1);
    store_test(sink, a_batch_is_settled_in_different_ways_at_once, 0, 1);
    store_test(sink, exactly_the_lost_messages_of_a_batch_are_stale, 0, 1);
    store_test(sink, nonsense_is_refused_and_changes_nothing, 0, 1);
    store_test(sink, a_delay_may_be_as_long_as_it_likes, 0, 1);
}
