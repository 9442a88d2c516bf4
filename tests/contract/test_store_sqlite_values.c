/* SPDX-License-Identifier: Apache-2.0 */
/* Values at the edge of what a column may hold, and beyond: every row is sent, fails, or is told.
 */
#include "sqlite_kind.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

#define T "outbox_messages"
#define NOON INT64_C(1767268800000000) /* 2026-01-01 12:00:00 UTC */

/* As on PostgreSQL. What cannot be read is told, and neither sent at once nor kept for ever. */
START_TEST(a_time_may_be_infinite_and_a_bad_one_fails_its_row)
{
    static const char *const bad[] = {"'tomorrow'", "''", "x'00FF'", "'infinity '", "'2026-13-45'"};
    const uint32_t n_bad = sizeof bad / sizeof bad[0];
    struct outbox_err err = {.size = sizeof err};
    struct outbox_page *page;
    struct outbox_filter pending = {.size = sizeof pending, .statuses = OUTBOX_PENDING};
    for (uint32_t i = 0; i < n_bad; i++)
        execute("INSERT INTO " T " (topic, available_at) VALUES ('bad', %s)", bad[i]);
    execute("INSERT INTO " T " (topic, available_at) VALUES ('never', 'Infinity'), ('now',"
            " '-infinity'), ('never', 9223372036854775807), ('never', 9e999), ('now', -9e999)");
    struct outbox_batch *batch = claim(the_store(), 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, n_bad + 2);
    for (uint32_t i = 0; i < batch->n; i++)
        ck_assert_int_eq(batch->messages[i]->defect.p != NULL, i < n_bad);
    settle_all(the_store(), batch, (struct outbox_settle){.action = OUTBOX_SETTLE_FAILED});
    release(the_store(), batch);
    batch = claim(the_store(), 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, 0);
    ck_assert_int_eq(batch->next_due_ms, -1);
    release(the_store(), batch);
    assert_class(store_list(the_store(), &pending, INT64_MIN, 10, CALL, &page, &err), OUTBOX_OK,
                 &err);
    ck_assert_uint_eq(page->n, 3);
    for (uint32_t i = 0; i < page->n; i++)
        ck_assert_int_eq(page->rows[i]->available_us, INT64_MAX);
}
END_TEST

START_TEST(a_row_is_reached_whatever_its_seq)
{
    static const int64_t seqs[] = {INT64_MIN, -1, 0, INT64_MAX};
    struct outbox_err err = {.size = sizeof err};
    struct outbox_filter all = {.size = sizeof all};
    struct outbox_page *page;
    int64_t after = INT64_MIN;
    uint64_t n;
    execute("INSERT INTO " T " (seq, topic) VALUES (-9223372036854775807 - 1, 't'), (-1, 't'),"
            " (0, 't'), (9223372036854775807, 't')");
    struct outbox_batch *batch = claim(the_store(), 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, 4);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(batch->messages[i]->seq, seqs[i]);
    settle_all(the_store(), batch, (struct outbox_settle){.action = OUTBOX_SETTLE_FAILED});
    release(the_store(), batch);
    assert_class(store_list(the_store(), &all, INT64_MIN, 2, CALL, &page, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(page->n, 2);
    ck_assert_int_eq(page->rows[0]->message->seq, INT64_MIN);
    assert_class(store_list(the_store(), &all, -1, 10, CALL, &page, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(page->n, 2);
    assert_class(store_list(the_store(), &all, INT64_MAX, 10, CALL, &page, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(page->n, 0);
    assert_class(store_requeue(the_store(), &all, &after, 10, CALL, &n, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(n, 4);
    ck_assert_int_eq(after, INT64_MAX);
}
END_TEST

START_TEST(an_empty_id_is_never_sent)
{
    struct outbox_err err = {.size = sizeof err};
    assert_class(save_one(the_store(), (struct outbox_new){.id = {"", 0}}, &err), OUTBOX_OK, &err);
    execute("INSERT INTO " T " (id, topic) VALUES ('', 't')");
    struct outbox_batch *batch = claim(the_store(), 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, 2);
    ck_assert_uint_eq(batch->messages[0]->id.n, 36);
    ck_assert_ptr_null(batch->messages[0]->defect.p);
    assert_str(batch->messages[1]->defect, "its id is empty");
    release(the_store(), batch);
}
END_TEST

/* As two processes that were forked do, whose SQLite has the same random numbers. */
START_TEST(ids_of_saved_messages_do_not_hang_on_sqlites_random_numbers)
{
    struct outbox_err err = {.size = sizeof err};
    sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SAVE);
    assert_class(save_one(the_store(), (struct outbox_new){.size = 0}, &err), OUTBOX_OK, &err);
    sqlite3_test_control(SQLITE_TESTCTRL_PRNG_RESTORE);
    assert_class(save_one(the_store(), (struct outbox_new){.size = 0}, &err), OUTBOX_OK, &err);
    ck_assert_int_eq(number("SELECT count(DISTINCT id) FROM " T), 2);
}
END_TEST

START_TEST(headers_may_be_null)
{
    execute("INSERT INTO " T " (topic, headers) VALUES ('t', NULL)");
    struct outbox_batch *batch = claim(the_store(), 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, 1);
    ck_assert_ptr_null(batch->messages[0]->defect.p);
    ck_assert_uint_eq(batch->messages[0]->n_headers, 0);
    release(the_store(), batch);
}
END_TEST

static char logged[4096];

static void keep_log(const struct outbox_host *host, int32_t level, const char *text, uint64_t n)
{
    (void)host;
    (void)level;
    snprintf(logged, sizeof logged, "%.*s", (int)n, text);
}

START_TEST(rows_that_nobody_ever_sends_are_counted_and_told)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_stats stats = {.size = sizeof stats};
    the_store()->instance.abi.log = keep_log;
    assert_class(store_check(the_store(), CALL, &err), OUTBOX_OK, &err);
    ck_assert_str_eq(logged, "");
    execute("INSERT INTO " T " (topic, status) VALUES ('t', 'PENDING'), ('t', 'new'),"
            " ('t', 'pending '), ('t', 'pending')");
    execute("INSERT INTO " T " (topic, lane) VALUES ('t', 'somewhere')");
    assert_class(store_stats(the_store(), (struct outbox_str){NULL, 0}, 0, CALL, &stats, &err),
                 OUTBOX_OK, &err);
    ck_assert_uint_eq(stats.unknown, 3);
    ck_assert_uint_eq(stats.pending, 2);
    ck_assert_uint_eq(stats.parked, 1);
    assert_class(store_check(the_store(), CALL, &err), OUTBOX_OK, &err);
    ck_assert_ptr_nonnull(strstr(logged, "3 rows"));
    ck_assert_ptr_nonnull(strstr(logged, "`PENDING`"));
}
END_TEST

START_TEST(a_row_without_a_time_does_not_hide_how_long_others_wait)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_stats stats = {.size = sizeof stats};
    execute("INSERT INTO " T " (topic, created_at) VALUES ('t', '-infinity'), ('t',"
            " 9223372036854775807), ('t', '2026-01-01 12:00:00')");
    assert_class(store_stats(the_store(), (struct outbox_str){NULL, 0}, 0, CALL, &stats, &err),
                 OUTBOX_OK, &err);
    ck_assert_int_eq(stats.oldest_pending_us, NOON);
}
END_TEST

/* Not only the payloads: 400 rows with a topic of 2 MB are too much, too. */
START_TEST(a_batch_is_bounded_in_the_bytes_of_all_columns)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_batch *batch;
    struct outbox_claim what = {.size = sizeof what,
                                .limit = 10,
                                .lease_ms = LEASE_MS,
                                .max_bytes = 1000,
                                .max_message = 1000000};
    for (int i = 0; i < 2; i++)
        execute("INSERT INTO " T " (topic, key, headers, payload) VALUES"
                " (hex(zeroblob(60)), hex(zeroblob(50)), '{\"a\":\"Ã¤%0100d\"}', 'text')",
                i);
    execute("UPDATE " T " SET payload = hex(zeroblob(50))");
    for (int i = 0; i < 2; i++)
        execute("INSERT INTO " T " (topic, payload) VALUES ('t', zeroblob(400))");
    static const uint32_t wanted[] = {2, 2};
    for (int i = 0; i < 2; i++) {
        assert_class(store_claim(the_store(), &what, CALL, &batch, &err), OUTBOX_OK, &err);
        ck_assert_uint_eq(batch->n, wanted[i]);
        settle_all(the_store(), batch, (struct outbox_settle){.action = OUTBOX_SETTLE_DONE});
        release(the_store(), batch);
    }
    execute("UPDATE " T " SET status = 'pending', topic = hex(zeroblob(300)) WHERE seq = 1");
    execute("UPDATE " T " SET status = 'pending' WHERE seq = 2");
    assert_class(store_claim(the_store(), &what, CALL, &batch, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(batch->n, 1);
    ck_assert_uint_ne(batch->more, 0);
    release(the_store(), batch);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store-sqlite: values");
    store_use(&sqlite_kind);
    TCase *tc = store_case(suite, "values");
    tcase_add_test(tc, a_time_may_be_infinite_and_a_bad_one_fails_its_row);
    tcase_add_test(tc, a_row_is_reached_whatever_its_seq);
    tcase_add_test(tc, an_empty_id_is_never_sent);
    tcase_add_test(tc, ids_of_saved_messages_do_not_hang_on_sqlites_random_numbers);
    tcase_add_test(tc, headers_may_be_null);
    tcase_add_test(tc, rows_that_nobody_ever_sends_are_counted_and_told);
    tcase_add_test(tc, a_row_without_a_time_does_not_hide_how_long_others_wait);
    tcase_add_test(tc, a_batch_is_bounded_in_the_bytes_of_all_columns);
    return unit_main(suite);
}
