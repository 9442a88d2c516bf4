/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that the database refuses to change, and rows of other tables, when people and the retention
 * change the table. */
#include "postgres_rig.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

static struct outbox_filter filter(uint32_t statuses)
{
    return (struct outbox_filter){.size = sizeof(struct outbox_filter), .statuses = statuses};
}

static uint64_t purge(struct outbox_filter f, uint32_t limit)
{
    struct outbox_err err = {.size = sizeof err};
    uint64_t n = 9;
    assert_class(store_purge(the_store(), &f, limit, CALL, &n, &err), OUTBOX_OK, &err);
    return n;
}

static void rows(const char *status, int n)
{
    execute("INSERT INTO " T " (topic, key, status, created_at, processed_at) SELECT 't', i::text,"
            " '%s', now() - interval '1 day', now() - interval '1 day' FROM generate_series(1, %d)"
            " i",
            status, n);
}

static int64_t left(void)
{
    return number("SELECT count(*) FROM " T);
}

/* ---- what is refused ---- */

/* In what way row 13 and row 77 cannot be changed. */
static const char *const refusals[] = {
    "CREATE TABLE notes (message uuid REFERENCES " T "); INSERT INTO notes SELECT id FROM " T
    " WHERE key IN ('13', '77')",
    "CREATE TRIGGER g BEFORE DELETE OR UPDATE ON " T
    " FOR EACH ROW WHEN (OLD.key IN ('13', '77')) EXECUTE FUNCTION raise()",
    "CREATE TRIGGER g BEFORE DELETE OR UPDATE ON " T
    " FOR EACH ROW WHEN (OLD.key IN ('13', '77')) EXECUTE FUNCTION skip()",
    "CREATE CONSTRAINT TRIGGER g AFTER DELETE OR UPDATE ON " T " DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW WHEN (OLD.key IN ('13', '77')) EXECUTE FUNCTION raise()",
};
#define N_REFUSALS ((int)(sizeof refusals / sizeof refusals[0]))

static void refuse(int how)
{
    execute("CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION"
            " 'not this one' USING ERRCODE = '42501'; END $$");
    execute("CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END"
            " $$");
    execute("%s", refusals[how]);
}

START_TEST(what_cannot_be_deleted_does_not_keep_the_rest)
{
    struct outbox_filter f = filter(OUTBOX_PROCESSED);
    f.older_than_ms = 1000;
    if (_i >= N_REFUSALS)
        f.topic = str("t*");
    rows("processed", 200);
    refuse(_i % N_REFUSALS);
    for (uint64_t n = 1; n > 0;)
        ck_assert_uint_le(n = purge(f, 100), 100);
    ck_assert_int_eq(left(), 2);
    ck_assert_int_ge(times_logged("cannot be deleted"), 1);
    ck_assert_int_le(times_logged("cannot be deleted"), 2);
    rows("processed", 1);
    ck_assert_uint_eq(purge(f, 1), 1); /* though what stays is older */
    ck_assert_uint_eq(purge(f, 1), 0);
    ck_assert_int_eq(left(), 2);
}
END_TEST

START_TEST(a_page_of_nothing_else_is_passed_over)
{
    struct outbox_filter f = filter(OUTBOX_PROCESSED);
    rows("processed", 20);
    execute("CREATE TABLE notes (message uuid REFERENCES " T ")");
    execute("INSERT INTO notes SELECT id FROM " T);
    rows("processed", 5);
    ck_assert_uint_eq(purge(f, 5), 5);
    ck_assert_int_eq(left(), 20);
}
END_TEST

typedef int (*change_fn)(struct store *, const struct outbox_filter *, int64_t *, uint32_t,
                         const struct outbox_call *, uint64_t *, struct outbox_err *);

static uint64_t change(change_fn fn, int64_t *after, uint32_t limit)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_filter f = filter(OUTBOX_FAILED);
    uint64_t n = 9;
    assert_class(fn(the_store(), &f, after, limit, CALL, &n, &err), OUTBOX_OK, &err);
    return n;
}

/* Half of the cases requeue, half discard; a foreign key does not mind an update. */
START_TEST(what_stays_failed_is_named_and_the_rest_is_changed)
{
    static const change_fn changes[] = {store_requeue, store_discard};
    int how = _i / 2;
    int64_t after = INT64_MIN;
    struct outbox_err err = {.size = sizeof err};
    uint64_t n;
    if (how == 0 && _i % 2 == 0)
        return;
    rows("failed", 100);
    refuse(how);
    ck_assert_uint_eq(change(changes[_i % 2], &after, 60), 59);
    ck_assert_uint_eq(change(changes[_i % 2], &after, 60), 39);
    ck_assert_uint_eq(change(changes[_i % 2], &after, 60), 0);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'failed'"), 2);
    ck_assert_int_eq(times_logged("stays failed"), 2);
    /* One that is asked for by itself says why. */
    struct outbox_filter f = filter(OUTBOX_FAILED);
    after = INT64_MIN;
    assert_class(changes[_i % 2](the_store(), &f, &after, 60, CALL, &n, &err), OUTBOX_E_CONFIG,
                 &err);
    assert_says(&err, "stays failed: ");
    assert_says(&err, how == 0 ? "foreign key" : how == 2 ? "a trigger skips it" : "not this one");
}
END_TEST

START_TEST(a_row_that_would_break_an_index_stays_failed)
{
    int64_t after = INT64_MIN;
    execute("CREATE UNIQUE INDEX ON " T " (key) WHERE status = 'pending'");
    execute("INSERT INTO " T " (topic, key, status) VALUES ('t', '7', 'pending')");
    rows("failed", 10);
    ck_assert_uint_eq(change(store_requeue, &after, 500), 9);
    ck_assert_int_eq(number("SELECT key::int FROM " T " WHERE status = 'failed'"), 7);
}
END_TEST

/* A statement that fails without any row is no refusal: it is told, and nothing is left aside. */
START_TEST(what_fails_for_all_rows_is_an_error)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_filter f = filter(OUTBOX_PROCESSED);
    uint64_t n;
    rows("processed", 10);
    execute("CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION"
            " 'none at all'; END $$");
    execute("CREATE TRIGGER g BEFORE DELETE ON " T " EXECUTE FUNCTION raise()");
    ck_assert_int_lt(store_purge(the_store(), &f, 100, CALL, &n, &err), 0);
    assert_says(&err, "none at all");
    execute("DROP TRIGGER g ON " T);
    ck_assert_uint_eq(purge(f, 100), 10);
}
END_TEST

/* ---- rows of other tables ---- */

/* Both begin at the same places. */
START_TEST(rows_of_a_table_that_inherits_are_not_touched)
{
    int64_t after = INT64_MIN;
    ck_assert_uint_eq(purge(filter(OUTBOX_PROCESSED), 10), 0); /* it has looked at the table */
    rows("pending", 50);
    execute("CREATE TABLE child () INHERITS (" T ")");
    execute("INSERT INTO child (seq, topic, status, processed_at) SELECT i, 'c', 'processed',"
            " now() FROM generate_series(1, 50) i");
    execute("INSERT INTO child (seq, topic, status) SELECT 50 + i, 'c', 'failed' FROM"
            " generate_series(1, 50) i");
    ck_assert_uint_eq(purge(filter(OUTBOX_PROCESSED | OUTBOX_FAILED), 500), 0);
    ck_assert_uint_eq(change(store_requeue, &after, 500), 0);
    ck_assert_uint_eq(change(store_discard, &after, 500), 0);
    ck_assert_int_eq(number("SELECT count(*) FROM ONLY " T " WHERE status = 'pending'"), 50);
    ck_assert_int_eq(number("SELECT count(*) FROM child"), 100);
}
END_TEST

/* ---- the ends of numbers and times ---- */

START_TEST(the_least_number_is_reached_and_left)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_filter all = filter(0);
    struct outbox_page *page;
    int64_t after = INT64_MIN;
    execute("INSERT INTO " T " (seq, topic, status) VALUES (-9223372036854775808, 't', 'failed'),"
            " (5, 't', 'failed'), (9223372036854775807, 't', 'failed')");
    assert_class(store_list(the_store(), &all, INT64_MIN, 10, CALL, &page, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(page->n, 3);
    ck_assert_int_eq(page->rows[0]->message->seq, INT64_MIN);
    assert_class(store_list(the_store(), &all, INT64_MAX, 10, CALL, &page, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(page->n, 0);
    ck_assert_uint_eq(change(store_requeue, &after, 1), 1);
    ck_assert_uint_eq(change(store_requeue, &after, 1), 1);
    ck_assert_int_eq(after, 5);
    ck_assert_uint_eq(change(store_requeue, &after, 1), 1);
    ck_assert_uint_eq(change(store_requeue, &after, 1), 0);
}
END_TEST

START_TEST(times_without_an_end_do_not_blind_the_counts)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_stats stats;
    struct outbox_filter all = filter(0);
    struct outbox_page *page;
    struct outbox_str everything = {NULL, 0};
    execute("INSERT INTO " T " (topic, created_at, available_at) VALUES ('a', '-infinity', NULL),"
            " ('b', '2020-01-01', NULL), ('c', 'infinity', 'infinity')");
    assert_class(store_stats(the_store(), everything, 0, CALL, &stats, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(stats.pending, 2);
    ck_assert_uint_eq(stats.delayed, 1);
    ck_assert_int_eq(stats.oldest_pending_us, INT64_C(1577836800000000));
    assert_class(store_list(the_store(), &all, INT64_MIN, 10, CALL, &page, &err), OUTBOX_OK, &err);
    ck_assert_int_eq(page->rows[0]->message->created_us, INT64_MIN);
    ck_assert_int_eq(page->rows[2]->available_us, INT64_MAX);
}
END_TEST

START_TEST(what_nobody_sends_is_counted)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_stats stats;
    struct outbox_str everything = {NULL, 0};
    execute("INSERT INTO " T " (topic, status, lane, available_at) VALUES ('a', 'new', NULL, NULL),"
            " ('b', 'PENDING', NULL, NULL), ('c', 'pending', 'mail', NULL),"
            " ('d', 'pending', 'mail', '2020-01-01'), ('e', 'pending', 'mail', '2999-01-01'),"
            " ('f', 'pending', NULL, NULL)");
    assert_class(store_stats(the_store(), everything, 0, CALL, &stats, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(stats.parked, 2);
    ck_assert_uint_eq(stats.pending, 3);
    assert_class(store_stats(the_store(), everything, OUTBOX_STATS_EXACT, CALL, &stats, &err),
                 OUTBOX_OK, &err);
    ck_assert_uint_eq(stats.parked, 2);
    ck_assert_uint_eq(stats.unknown, 2);
}
END_TEST

/* As the manual says to write a payload that is text: a backslash stays one. */
START_TEST(a_payload_of_text_arrives_as_it_was_written)
{
    static const char json[] = "{\"p\":\"C:\\\\dir\",\"q\":\"\\101\\n\"}";
    const char *values[] = {json};
    PGresult *result = PQexecParams(the_connection(),
                                    "INSERT INTO " T " (topic, payload) VALUES ('t',"
                                    " convert_to($1, 'UTF8'))",
                                    1, NULL, values, NULL, NULL, 0);
    ck_assert_int_eq(PQresultStatus(result), PGRES_COMMAND_OK);
    PQclear(result);
    struct outbox_batch *batch = claim(the_store(), 1, LEASE_MS);
    ck_assert_uint_eq(batch->n, 1);
    assert_str(batch->messages[0]->payload, json);
    release(the_store(), batch);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    Suite *suite = suite_create("store-postgres: admin");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "admin");
    tcase_add_loop_test(tc, what_cannot_be_deleted_does_not_keep_the_rest, 0, 2 * N_REFUSALS);
    tcase_add_test(tc, a_page_of_nothing_else_is_passed_over);
    tcase_add_loop_test(tc, what_stays_failed_is_named_and_the_rest_is_changed, 0, 2 * N_REFUSALS);
    tcase_add_test(tc, a_row_that_would_break_an_index_stays_failed);
    tcase_add_test(tc, what_fails_for_all_rows_is_an_error);
    tcase_add_test(tc, rows_of_a_table_that_inherits_are_not_touched);
    tcase_add_test(tc, the_least_number_is_reached_and_left);
    tcase_add_test(tc, times_without_an_end_do_not_blind_the_counts);
    tcase_add_test(tc, what_nobody_sends_is_counted);
    tcase_add_test(tc, a_payload_of_text_arrives_as_it_was_written);
    return unit_main(suite);
}
