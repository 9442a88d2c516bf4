/* SPDX-License-Identifier: Apache-2.0 */
/* What applications, people and other relays write into the table, by SQL of their own. */
#include "sqlite_kind.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define T "outbox_messages"
#define NOON INT64_C(1767268800000000) /* 2026-01-01 12:00:00 UTC */

START_TEST(headers_are_read_in_every_form_that_a_producer_writes)
{
    static const struct {
        const char *value;
        uint64_t n;
    } forms[] = {
        {"'{}'", 0},
        {"''", 0},
        {"'null'", 0},
        {"CAST('null' AS BLOB)", 0},
        {"CAST('{\"a\":\"1\"}' AS BLOB)", 1},
        {"' {\"a\" : 1.50, \"b\":true, \"c\":null} '", 3},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        execute("INSERT INTO " T " (topic, headers) VALUES ('t', %s)", forms[i].value);
    struct outbox_batch *batch = claim(the_store(), 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, sizeof forms / sizeof forms[0]);
    for (uint32_t i = 0; i < batch->n; i++) {
        ck_assert_ptr_null(batch->messages[i]->defect.p);
        ck_assert_uint_eq(batch->messages[i]->n_headers, forms[i].n);
    }
    assert_str(batch->messages[5]->headers[0].value, "1.50");
    assert_str(batch->messages[5]->headers[1].value, "true");
    release(the_store(), batch);
}
END_TEST

START_TEST(a_row_with_unreadable_headers_is_marked_and_holds_nobody_up)
{
    static const char *const forms[] = {"'[1]'", "'{\"a\":{}'",           "'{'",        "'{}x'",
                                        "x'FF'", "x'7B2261223A2200227D'", "'\"text\"'", "17"};
    const uint32_t n = sizeof forms / sizeof forms[0];
    for (uint32_t i = 0; i < n; i++)
        execute("INSERT INTO " T " (topic, headers) VALUES ('t', %s)", forms[i]);
    produce(1);
    struct outbox_batch *batch = claim(the_store(), 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, n + 1);
    for (uint32_t i = 0; i < n; i++)
        ck_assert_msg(batch->messages[i]->defect.p && batch->messages[i]->n_headers == 0,
                      "%s was read", forms[i]);
    ck_assert_ptr_null(batch->messages[n]->defect.p);
    release(the_store(), batch);
}
END_TEST

START_TEST(times_are_read_in_every_form_that_a_program_writes)
{
    static const struct {
        const char *value;
        int64_t us;
    } forms[] = {
        {"'2026-01-01 12:00:00'", NOON},
        {"'2026-01-01 12:00:00.25'", NOON + 250000},
        {"'2026-01-01T12:00:00.123456Z'", NOON + 123456},
        {"'2026-01-01 14:00:00+02:00'", NOON},
        {"'2026-01-01 10:30:00.000000000 -0130 -0130 m=+0.1'", NOON},
        {"'2026-01-01 12:00'", NOON},
        {"1767268800", NOON},
        {"1767268800000", NOON},
        {"1767268800000000", NOON},
        {"'next Tuesday'", 0},
        {"''", 0},
        {"x'00FF'", 0},
        {"-5", 0},
        {"'infinity'", 0},
        {"'-infinity'", 0},
        {"9223372036854775807", 0},
        {"-9223372036854775807 - 1", 0},
        {"9e999", 0},
        {"'0001-01-01 00:00:00'", 0},
        {"'9999-12-31 23:59:59'", INT64_C(253402300799000000)},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        execute("INSERT INTO " T " (topic, created_at) VALUES ('t', %s)", forms[i].value);
    struct outbox_batch *batch = claim(the_store(), 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, sizeof forms / sizeof forms[0]);
    for (uint32_t i = 0; i < batch->n; i++)
        ck_assert_msg(batch->messages[i]->created_us == forms[i].us, "%s is %lld", forms[i].value,
                      (long long)batch->messages[i]->created_us);
    release(the_store(), batch);
}
END_TEST

START_TEST(a_person_may_write_when_a_message_is_due)
{
    execute("INSERT INTO " T " (topic, available_at) VALUES"
            " ('past', datetime('now', '-1 minute')), ('later', datetime('now', '+1 hour')),"
            " ('unreadable', 'soon'), ('number', 5)");
    struct outbox_batch *batch = claim(the_store(), 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, 3);
    assert_str(batch->messages[0]->topic, "past");
    assert_str(batch->messages[1]->topic, "unreadable");
    assert_str(batch->messages[2]->topic, "number");
    ck_assert_ptr_null(batch->messages[0]->defect.p);
    assert_str(batch->messages[1]->defect, "available_at is no time: soon");
    ck_assert_ptr_null(batch->messages[2]->defect.p);
    release(the_store(), batch);
    batch = claim(the_store(), 100, LEASE_MS);
    ck_assert_int_gt(number("SELECT available_at FROM " T " WHERE topic = 'later'"), NOON);
    release(the_store(), batch);
}
END_TEST

/* The zero of a program's type: as good a time as any, and past. */
START_TEST(a_time_of_zero_is_due_and_holds_nobody_up)
{
    execute("INSERT INTO " T " (topic, available_at) VALUES ('zero', 0), ('number', 5)");
    release(the_store(), claim(the_store(), 1, LEASE_MS)); /* has searched for orphans */
    struct outbox_batch *batch = claim(the_store(), 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, 2);
    release(the_store(), batch);
    execute("UPDATE " T " SET available_at = 0");
    batch = claim(the_store(), 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, 2);
    release(the_store(), batch);
}
END_TEST

/* The Go package's relay marks rows and keeps no lease; it may be at work, or gone. */
START_TEST(a_row_that_another_relay_marked_gets_a_lease_and_expires)
{
    execute("INSERT INTO " T " (topic, status) VALUES ('t', 'processing')");
    int64_t begun = now_ms();
    struct outbox_batch *batch = claim(the_store(), 100, 300);
    ck_assert_uint_eq(batch->n, 0);
    ck_assert_int_le(batch->next_due_ms, 300);
    release(the_store(), batch);
    batch = claim_soon(the_store());
    ck_assert_int_ge(now_ms() - begun, 290);
    ck_assert_uint_eq(batch->n, 1);
    release(the_store(), batch);
}
END_TEST

START_TEST(what_another_relay_settles_meanwhile_stays_settled)
{
    execute("INSERT INTO " T " (id, topic, status) VALUES ('1', 't', 'processing')");
    release(the_store(), claim(the_store(), 100, 100));
    execute("UPDATE " T " SET status = 'processed', processed_at = CURRENT_TIMESTAMP"
            " WHERE id IN ('1')");
    sleep_ms(150);
    struct outbox_batch *batch = claim(the_store(), 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, 0);
    release(the_store(), batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), 1);
}
END_TEST

START_TEST(an_expired_claim_is_counted)
{
    struct store *other = an_instance();
    produce(3);
    claim(the_store(), 100, 1);
    release(other, claim_soon(other));
    const struct instance_counter *c = other->instance.counters;
    ck_assert_str_eq(c->name, "lease_expired_total");
    ck_assert_int_eq(c->value, 3);
}
END_TEST

START_TEST(hostile_ids_topics_and_keys_pass_unharmed)
{
    static const char id[] = "'; DROP TABLE outbox_messages; --\n\"\x1B[2J\xC3\xA9";
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str ids[] = {str(id)};
    struct outbox_new row = {.id = str(id), .topic = str("{t}?1%s"), .key = str("'")};
    assert_class(save_one(the_store(), row, &err), OUTBOX_OK, &err);
    execute("INSERT INTO " T " (id, topic, key) VALUES (x'00FF27', CAST(x'FF00' AS TEXT), 5.5)");
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 2);
    assert_str(batch->messages[0]->id, id);
    assert_str(batch->messages[0]->topic, "{t}?1%s");
    ck_assert_uint_eq(batch->messages[1]->id.n, 3);
    ck_assert_uint_eq(batch->messages[1]->topic.n, 2);
    assert_str(batch->messages[1]->key, "5.5");
    settle_all(the_store(), batch, (struct outbox_settle){.action = OUTBOX_SETTLE_FAILED});
    release(the_store(), batch);
    struct outbox_filter f = {.size = sizeof f, .ids = ids, .n_ids = 1};
    int64_t after = 0;
    uint64_t n;
    assert_class(store_discard(the_store(), &f, &after, 10, CALL, &n, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(number("SELECT count(*) FROM " T), 1);
}
END_TEST

START_TEST(a_payload_written_as_text_or_number_is_its_bytes)
{
    execute("INSERT INTO " T " (topic, payload) VALUES ('t', 'a\xC3\xA4'), ('t', 42),"
            " ('t', CAST(x'610062' AS TEXT))");
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    assert_str(batch->messages[0]->payload, "a\xC3\xA4");
    assert_str(batch->messages[1]->payload, "42");
    ck_assert_uint_eq(batch->messages[2]->payload.n, 3);
    release(the_store(), batch);
}
END_TEST

START_TEST(a_database_in_utf_16_gives_utf_8)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    sqlite3 *db = open_db("wide.db");
    run_sql(db, "PRAGMA encoding = 'UTF-16'; CREATE TABLE mine (x)");
    use_path(the_options(), "wide.db");
    struct store *s = an_instance();
    assert_class(store_init(s, CALL, &done, &err), OUTBOX_OK, &err);
    run_sql(db, "INSERT INTO " T " (topic, key, payload, headers) VALUES"
                " ('t\xC3\xA4', 'k', 'p', '{\"a\":\"1\"}')");
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 1);
    assert_str(batch->messages[0]->topic, "t\xC3\xA4");
    assert_str(batch->messages[0]->payload, "p");
    ck_assert_uint_eq(batch->messages[0]->id.n, 36);
    assert_str(batch->messages[0]->headers[0].value, "1");
    release(s, batch);
    sqlite3_close(db);
}
END_TEST

START_TEST(several_tables_live_in_one_file)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    assert_class(options_set(the_options(), "table", "Other_outbox", &err), OUTBOX_OK, &err);
    struct store *other = an_instance();
    assert_class(store_check(other, CALL, &err), OUTBOX_E_CONFIG, &err);
    assert_class(store_init(other, CALL, &done, &err), OUTBOX_OK, &err);
    produce(1);
    execute("INSERT INTO other_outbox (topic) VALUES ('theirs')");
    struct outbox_batch *batch = claim(other, 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 1);
    assert_str(batch->messages[0]->topic, "theirs");
    release(other, batch);
    batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 1);
    release(the_store(), batch);
}
END_TEST

START_TEST(options_that_cannot_work_are_refused_at_once)
{
    static const char long_name[] =
        "a234567890123456789012345678901234567890123456789012345678901234567890";
    static const char *const tables[] = {"",         "a b", "a\"b",     "1a",     "main.t",
                                         "sqlite_x", "a;",  "\xC3\xA4", long_name};
    static const char *const paths[] = {"", ":memory:", "file:x?mode=ro"};
    struct outbox_err err = {.size = sizeof err};
    const struct plugin *plugin = the_store()->instance.plugin;
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        struct store s = {0};
        assert_class(options_set(the_options(), "table", tables[i], &err), OUTBOX_OK, &err);
        assert_class(store_open(&s, plugin, the_options(), NULL, &err), OUTBOX_E_CONFIG, &err);
    }
    assert_class(options_set(the_options(), "table", T, &err), OUTBOX_OK, &err);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct store s = {0};
        assert_class(options_set(the_options(), "path", paths[i], &err), OUTBOX_OK, &err);
        assert_class(store_open(&s, plugin, the_options(), NULL, &err), OUTBOX_E_CONFIG, &err);
    }
}
END_TEST

/* Of this thread alone: what the disk takes to sync says nothing here. */
static int64_t cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

/* Statistics of a moment when nothing was kept, and the index of the Go package. */
START_TEST(a_claim_reads_little_however_much_is_kept)
{
    execute("ANALYZE");
    execute("CREATE INDEX idx_outbox_messages_pending ON " T " (created_at)"
            " WHERE status = 'pending'");
    execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)"
            " INSERT INTO " T " (topic, status, processed_at)"
            " SELECT 't', 'processed', '2026-01-01' FROM n");
    produce(1);
    release(the_store(), claim(the_store(), 10, LEASE_MS));
    int64_t begun = cpu_us();
    for (int i = 0; i < 50; i++) {
        struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
        ck_assert_uint_eq(batch->n, 1);
        settle_all(the_store(), batch, (struct outbox_settle){.action = OUTBOX_SETTLE_RETRY});
        release(the_store(), batch);
    }
    int64_t indexed = cpu_us() - begun;
    begun = cpu_us();
    for (int i = 0; i < 50; i++)
        number("SELECT count(*) FROM " T " NOT INDEXED WHERE status = 'pending'");
    ck_assert_int_lt(indexed, cpu_us() - begun);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store-sqlite: rows");
    store_use(&sqlite_kind);
    TCase *tc = store_case(suite, "rows");
    tcase_add_test(tc, headers_are_read_in_every_form_that_a_producer_writes);
    tcase_add_test(tc, a_row_with_unreadable_headers_is_marked_and_holds_nobody_up);
    tcase_add_test(tc, times_are_read_in_every_form_that_a_program_writes);
    tcase_add_test(tc, a_person_may_write_when_a_message_is_due);
    tcase_add_test(tc, a_time_of_zero_is_due_and_holds_nobody_up);
    tcase_add_test(tc, a_row_that_another_relay_marked_gets_a_lease_and_expires);
    tcase_add_test(tc, what_another_relay_settles_meanwhile_stays_settled);
    tcase_add_test(tc, an_expired_claim_is_counted);
    tcase_add_test(tc, hostile_ids_topics_and_keys_pass_unharmed);
    tcase_add_test(tc, a_payload_written_as_text_or_number_is_its_bytes);
    tcase_add_test(tc, a_database_in_utf_16_gives_utf_8);
    tcase_add_test(tc, several_tables_live_in_one_file);
    tcase_add_test(tc, options_that_cannot_work_are_refused_at_once);
    tcase_add_test(tc, a_claim_reads_little_however_much_is_kept);
    return unit_main(suite);
}
