/* SPDX-License-Identifier: Apache-2.0 */
/* What rows may hold, whoever wrote them, and what comes of it. */
#include "postgres_rig.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct store *the_way(int mode)
{
    use_mode(mode);
    return instance_as("one", NULL);
}

static struct outbox_batch *claim_with(struct store *s, struct outbox_claim what)
{
    struct outbox_batch *batch;
    struct outbox_err err;
    assert_class(try_claim(s, what, within(30000), &batch, &err), OUTBOX_OK, &err);
    return batch;
}

/* ---- headers ---- */

static const struct {
    const char *sql;
    uint64_t n;
    const char *value; /* of the first */
    const char *defect;
} headers[] = {
    {"NULL", 0, NULL, NULL},
    {"'null'", 0, NULL, NULL},
    {"'{}'", 0, NULL, NULL},
    {"'{\"a\":\"text\"}'", 1, "text", NULL},
    {"'{\"a\":17}'", 1, "17", NULL},
    {"'{\"a\":-1.50e3}'", 1, "-1500", NULL}, /* jsonb keeps the number, not its text */
    {"'{\"a\":12345678901234567890.123}'", 1, "12345678901234567890.123", NULL},
    {"'{\"a\":true}'", 1, "true", NULL},
    {"'{\"a\":null}'", 1, "null", NULL},
    {"'{\"a\":\"\"}'", 1, "", NULL},
    {"'{\"\":\"nameless\"}'", 1, "nameless", NULL},
    {"'{\"a\":\"\\u00e4\\n\\\"\\\\\"}'", 1, "\xC3\xA4\n\"\\", NULL},
    {"'{\"a\":\"first\",\"a\":\"last\"}'", 1, "last", NULL},
    {"'{\"a\":{\"b\":1}}'", 1, "{\"b\":1}", NULL},
    {"'{\"a\":[1, \"x y\"]}'", 1, "[1,\"x y\"]", NULL},
    {"'[]'", 0, NULL, NULL},
    {"'\"text\"'", 0, NULL, ""},
    {"'7'", 0, NULL, ""},
    {"(repeat('{\"a\":', 500) || '1' || repeat('}', 500))::jsonb", 0, NULL, ""},
};
#define N_HEADERS (sizeof headers / sizeof headers[0])

START_TEST(headers_are_read_leniently_and_a_bad_row_fails_alone)
{
    struct store *s = the_way(_i);
    for (size_t i = 0; i < N_HEADERS; i++)
        execute("INSERT INTO " T " (topic, headers) VALUES ('t', %s)", headers[i].sql);
    struct outbox_batch *batch = claim(s, 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, N_HEADERS);
    for (size_t i = 0; i < N_HEADERS; i++) {
        const struct outbox_message *m = batch->messages[i];
        if (headers[i].defect) {
            ck_assert_msg(m->defect.p != NULL, "%s has no defect", headers[i].sql);
            ck_assert_msg(strstr(m->defect.p, headers[i].defect), "%s", m->defect.p);
            continue;
        }
        ck_assert_msg(m->defect.p == NULL, "%s: %s", headers[i].sql, m->defect.p);
        ck_assert_uint_eq(m->n_headers, headers[i].n);
        if (headers[i].n)
            assert_str(m->headers[0].value, headers[i].value);
    }
    ck_assert_uint_eq(settle_all(s, batch, FAILED_CHARGED), 0);
    release(s, batch);
}
END_TEST

/* ---- other columns ---- */

START_TEST(a_copy_travels_under_its_origins_id)
{
    struct store *s = the_way(_i);
    execute(
        "INSERT INTO " T " (id, topic, origin_id) VALUES"
        " ('AAAAAAAA-0000-4000-8000-000000000001', 't', 'bbbbbbbb-0000-4000-8000-000000000002'),"
        " ('aaaaaaaa-0000-4000-8000-000000000003', 't', NULL)");
    struct outbox_batch *batch = claim(s, 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, 2);
    assert_str(batch->messages[0]->id, "bbbbbbbb-0000-4000-8000-000000000002");
    assert_str(batch->messages[0]->row_id, "aaaaaaaa-0000-4000-8000-000000000001");
    assert_str(batch->messages[1]->id, "aaaaaaaa-0000-4000-8000-000000000003");
    assert_str(batch->messages[1]->row_id, "aaaaaaaa-0000-4000-8000-000000000003");
    release(s, batch);
}
END_TEST

START_TEST(any_time_is_a_time)
{
    static const int64_t wanted[] = {INT64_MAX, INT64_MIN, INT64_C(-210863520000000000), 0,
                                     INT64_C(1767225600123456)};
    struct store *s = the_way(_i);
    execute("INSERT INTO " T " (topic, created_at, available_at) VALUES"
            " ('t', 'infinity', NULL), ('t', '-infinity', '-infinity'),"
            " ('t', '4713-01-01 00:00:00+00 BC', '4713-01-01 BC'),"
            " ('t', '1970-01-01 00:00:00+00', NULL),"
            " ('t', '2026-01-01 00:00:00.123456+00', now()),"
            " ('never', now(), 'infinity'), ('hardly', now(), '294276-12-31')");
    sleep_ms(5);
    struct outbox_batch *batch = claim(s, 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, 5);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(batch->messages[i]->created_us, wanted[i]);
    ck_assert_int_gt(batch->next_due_ms, mode_is_leases(_i) ? 1000 : INT64_C(86400000));
    ck_assert_uint_eq(settle_all(s, batch, DONE), 0);
    release(s, batch);
    execute("DELETE FROM " T " WHERE topic = 'hardly'");
    struct store *other = an_instance();
    batch = claim(other, 100, LEASE_MS);
    ck_assert_int_eq(batch->next_due_ms, -1);
    release(other, batch);
    struct outbox_page *page;
    struct outbox_err err = {.size = sizeof err};
    struct outbox_filter all = {.size = sizeof all};
    assert_class(store_list(other, &all, INT64_MIN, 100, CALL, &page, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(page->n, 6);
    ck_assert_int_eq(page->rows[5]->available_us, INT64_MAX);
}
END_TEST

START_TEST(retries_do_not_overflow)
{
    struct store *s = the_way(_i);
    execute("INSERT INTO " T " (topic, retries) VALUES ('t', 2147483647), ('t', 2147483646),"
            " ('t', -7)");
    struct outbox_batch *batch = claim(s, 100, LEASE_MS);
    ck_assert_uint_eq(batch->messages[0]->retries, 2147483647);
    ck_assert_uint_eq(batch->messages[2]->retries, 0);
    ck_assert_uint_eq(settle_all(s, batch, FAILED_CHARGED), 0);
    release(s, batch);
    ck_assert_int_eq(number("SELECT retries FROM " T " ORDER BY seq LIMIT 1"), 2147483647);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE retries = 2147483647"), 2);
}
END_TEST

START_TEST(topics_and_keys_come_as_they_are)
{
    static const char *const nasty[] = {
        " ",
        "it''s \"quoted\"",
        "back\\slash",
        "new\nline\r\ttab",
        "\x01\x1B[2J\x7F",
        "\xE2\x80\xAE right to left",
        "\xF0\x9F\x92\xA9 \xC3\xA4",
        "'; DROP TABLE outbox_messages; --",
        "{t} $1 %s %n",
        "\xEF\xBF\xBF",
    };
    enum { N = sizeof nasty / sizeof nasty[0] };
    struct outbox_err err = {.size = sizeof err};
    struct store *s = the_way(_i);
    for (int i = 0; i < N; i++)
        assert_class(
            save_one(s, (struct outbox_new){.topic = str(nasty[i]), .key = str(nasty[N - 1 - i])},
                     &err),
            OUTBOX_OK, &err);
    struct outbox_batch *batch = claim(s, 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, N);
    for (int i = 0; i < N; i++) {
        assert_str(batch->messages[i]->topic, nasty[i]);
        assert_str(batch->messages[i]->key, nasty[N - 1 - i]);
    }
    release(s, batch);
}
END_TEST

/* ---- sizes ---- */

START_TEST(what_is_too_large_is_marked_and_never_loaded)
{
    struct store *s = the_way(_i);
    execute("INSERT INTO " T " (topic, payload) SELECT 't', decode(repeat('ab', 70 << 20), 'hex')");
    execute("INSERT INTO " T " (topic, headers) SELECT 't',"
            " jsonb_build_object('a', repeat('x', 70 << 20))");
    execute("INSERT INTO " T " (topic) SELECT repeat('t', 100 << 20)");
    execute("INSERT INTO " T " (topic, key) SELECT 't', repeat('k', 100 << 20)");
    execute("INSERT INTO " T " (topic, payload) VALUES ('small', 'p')");
    struct outbox_batch *batch = claim(s, 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, 5);
    for (int i = 0; i < 4; i++) {
        ck_assert_msg(batch->messages[i]->defect.p != NULL, "message %d has no defect", i);
        ck_assert_ptr_null(batch->messages[i]->payload.p);
        ck_assert_uint_lt(batch->messages[i]->topic.n, 65537);
        ck_assert_uint_lt(batch->messages[i]->key.n, 65537);
    }
    ck_assert_ptr_nonnull(strstr(batch->messages[0]->defect.p, "73400320"));
    ck_assert_ptr_nonnull(strstr(batch->messages[1]->defect.p, "headers"));
    ck_assert_ptr_nonnull(strstr(batch->messages[2]->defect.p, "topic"));
    ck_assert_ptr_nonnull(strstr(batch->messages[3]->defect.p, "key"));
    ck_assert_ptr_null(batch->messages[4]->defect.p);
    ck_assert_uint_eq(settle_all(s, batch, FAILED_CHARGED), 0);
    release(s, batch);
}
END_TEST

/* Ten messages of 300,000 bytes, of payload or of headers; three fit into a batch. */
static void produce_large(bool of_headers)
{
    if (of_headers)
        execute("INSERT INTO " T " (topic, headers) SELECT 't', jsonb_build_object('a',"
                " repeat('x', 300000)) FROM generate_series(1, 10)");
    else
        execute("INSERT INTO " T " (topic, payload) SELECT 't', decode(repeat('ab', 300000), 'hex')"
                " FROM generate_series(1, 10)");
}

#define N_LARGE (2 * MODES_DIRECT)
START_TEST(a_batch_of_large_messages_holds_what_fits_and_the_rest_is_free)
{
    struct outbox_claim what = a_claim(100);
    bool of_headers = _i >= MODES_DIRECT;
    struct store *s = the_way(_i % MODES_DIRECT), *other = an_instance();
    what.max_bytes = 1000000;
    produce_large(of_headers);
    for (int left = 10; left > 0; left -= 3) {
        struct outbox_batch *batch = claim_with(s, what);
        ck_assert_uint_eq(batch->n, left < 3 ? left : 3);
        ck_assert_int_eq(batch->more != 0, left > 3);
        for (uint32_t i = 0; i < batch->n; i++) {
            const struct outbox_message *m = batch->messages[i];
            ck_assert_ptr_null(m->defect.p);
            ck_assert_uint_eq(of_headers ? m->headers[0].value.n : m->payload.n, 300000);
        }
        if (mode_is_leases(_i % MODES_DIRECT)) { /* others may have the rest at once */
            struct outbox_batch *theirs = claim_with(other, what);
            ck_assert_uint_eq(theirs->n, left < 3 ? 0 : left < 6 ? left - 3 : 3);
            release(other, theirs);
        }
        ck_assert_uint_eq(settle_all(s, batch, DONE), 0);
        release(s, batch);
    }
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), 10);
}
END_TEST

START_TEST(payloads_that_are_nothing_empty_or_NUL_stay_so)
{
    struct store *s = the_way(_i);
    execute("INSERT INTO " T " (topic, payload) VALUES ('t', NULL), ('t', ''), ('t', '\\x00'),"
            " ('t', '\\x00ff00')");
    struct outbox_batch *batch = claim(s, 100, LEASE_MS);
    ck_assert_ptr_null(batch->messages[0]->payload.p);
    ck_assert_ptr_nonnull(batch->messages[1]->payload.p);
    ck_assert_uint_eq(batch->messages[1]->payload.n, 0);
    ck_assert_uint_eq(batch->messages[2]->payload.n, 1);
    ck_assert_mem_eq(batch->messages[3]->payload.p, "\0\xFF\0", 3);
    release(s, batch);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    Suite *suite = suite_create("store-postgres: rows");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "rows");
    tcase_add_loop_test(tc, headers_are_read_leniently_and_a_bad_row_fails_alone, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, a_copy_travels_under_its_origins_id, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, any_time_is_a_time, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, retries_do_not_overflow, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, topics_and_keys_come_as_they_are, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, what_is_too_large_is_marked_and_never_loaded, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, a_batch_of_large_messages_holds_what_fits_and_the_rest_is_free, 0,
                        N_LARGE);
    tcase_add_loop_test(tc, payloads_that_are_nothing_empty_or_NUL_stay_so, 0, MODES_DIRECT);
    return unit_main(suite);
}
