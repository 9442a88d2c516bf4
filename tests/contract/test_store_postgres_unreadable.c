/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that the server cannot read out or cannot send: each fails by itself, and says why. */
#include "postgres_rig.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Claims and settles until nothing comes; rows with a defect say `why`. */
static struct outcome {
    uint32_t good;
    uint32_t bad;
    uint32_t aside; /* bad ones that stay as they are */
    uint32_t batches;
} drain(struct store *s, struct outbox_claim what, const char *why)
{
    struct outcome outcome = {0};
    struct outbox_batch *batch;
    struct outbox_err err;
    for (bool more = true; more; release(s, batch)) {
        assert_class(try_claim(s, what, within(30000), &batch, &err), OUTBOX_OK, &err);
        more = batch->n > 0;
        outcome.batches += more;
        for (uint32_t i = 0; i < batch->n; i++) {
            const struct outbox_message *m = batch->messages[i];
            outcome.good += m->defect.p == NULL;
            outcome.bad += m->defect.p != NULL;
            ck_assert_uint_eq(m->row_id.n, 36);
            ck_assert(!m->defect.p == !batch->messages[0]->defect.p); /* by themselves */
            if (m->defect.p)
                ck_assert_msg(strstr(m->defect.p, "cannot be read") && strstr(m->defect.p, why),
                              "%s", m->defect.p);
        }
        uint8_t settled[100] = {0};
        if (more && batch->messages[0]->defect.p) {
            ck_assert_uint_eq(settle_at_last(s, batch, FAILED_CHARGED, settled), 0);
            outcome.aside += settled[0] == OUTBOX_SETTLED_QUARANTINED;
        }
        if (more && !batch->messages[0]->defect.p)
            ck_assert_uint_eq(settle_at_last(s, batch, DONE, NULL), 0);
    }
    return outcome;
}

/* Lists everything, page by page: the rows that are failed have a defect, and no others have. */
static void assert_listed(struct store *s, uint32_t n, uint32_t n_bad)
{
    const struct outbox_filter all = {.size = sizeof all};
    struct outbox_err err = {.size = sizeof err};
    struct outbox_page *page;
    uint32_t rows = 0, bad = 0;
    int64_t after = INT64_MIN;
    do {
        assert_class(store_list(s, &all, after, 4, CALL, &page, &err), OUTBOX_OK, &err);
        for (uint32_t i = 0; i < page->n; i++) {
            const struct outbox_row *row = page->rows[i];
            ck_assert_int_gt(row->message->seq, after);
            ck_assert_int_eq(row->message->defect.p != NULL, row->status == OUTBOX_FAILED);
            after = row->message->seq;
            bad += row->status == OUTBOX_FAILED;
        }
        rows += page->n;
    } while (page->n > 0);
    ck_assert_uint_eq(rows, n);
    ck_assert_uint_eq(bad, n_bad);
}

/* ---- damage ---- */

/* Payloads that the server keeps apart, in pieces; then each loses the first of them. */
static void produce_damaged(int n, const char *available_at)
{
    execute("INSERT INTO " T " (topic, payload, available_at) SELECT 'damaged', string_agg("
            "decode(md5(i::text), 'hex'), ''), %s FROM generate_series(1, 5000) i,"
            " generate_series(1, %d) g GROUP BY g",
            available_at, n);
    execute("SET client_min_messages = warning");
    execute("CREATE EXTENSION IF NOT EXISTS pg_surgery SCHEMA public");
    execute("DO $$ DECLARE apart regclass := (SELECT reltoastrelid FROM pg_class WHERE oid = '" T
            "'::regclass); pieces tid[]; BEGIN"
            " EXECUTE format('SELECT array_agg(ctid) FROM %%s WHERE chunk_seq = 0', apart)"
            " INTO pieces; PERFORM public.heap_force_kill(apart, pieces); END $$");
}

/* How the row is met: with the others, after them since it is large, or as one that waited. */
static const struct {
    uint64_t max_bytes;
    const char *available_at;
} ways[] = {{64 << 20, "NULL"}, {1000000, "NULL"}, {64 << 20, "now()"}};
#define N_WAYS ((int)(sizeof ways / sizeof ways[0]))

START_TEST(a_row_whose_storage_is_damaged_fails_alone)
{
    struct outbox_claim what = a_claim(100);
    struct outbox_err err = {.size = sizeof err};
    what.max_bytes = ways[_i / N_MODES].max_bytes;
    use_mode(_i % N_MODES);
    struct store *other = an_instance(), *s = an_instance();
    produce(5);
    struct outbox_batch *theirs = claim(other, 3, LEASE_MS);
    produce_damaged(1, ways[_i / N_MODES].available_at);
    produce(5);
    sleep_ms(5);
    struct outcome outcome = drain(s, what, "toast value");
    ck_assert_uint_eq(outcome.good, 7);
    ck_assert_uint_eq(outcome.bad, 1);
    ck_assert_uint_eq(outcome.aside, 0);
    release(other, theirs);
    outcome = drain(s, what, "nothing");
    ck_assert_uint_eq(outcome.good, 3);
    ck_assert_uint_eq(outcome.bad, 0);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'failed'"), 1);
    assert_listed(s, 11, 1);
    const struct outbox_filter failed = {.size = sizeof failed, .statuses = OUTBOX_FAILED};
    int64_t after = INT64_MIN;
    uint64_t n;
    assert_class(store_requeue(s, &failed, &after, 10, CALL, &n, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(n, 1);
    outcome = drain(s, what, "toast value");
    ck_assert_uint_eq(outcome.bad, 1);
    after = INT64_MIN;
    assert_class(store_discard(s, &failed, &after, 10, CALL, &n, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(n, 1);
    assert_listed(s, 10, 0);
}
END_TEST

/* It is found in some tens of tries, and batches become as large as before. */
START_TEST(a_bad_row_among_many_makes_few_batches_small)
{
    use_mode(_i);
    struct store *s = an_instance();
    produce(250);
    produce_damaged(1, "NULL");
    produce(500);
    struct outcome outcome = drain(s, a_claim(100), "toast value");
    ck_assert_uint_eq(outcome.good, 750);
    ck_assert_uint_eq(outcome.bad, 1);
    ck_assert_uint_le(outcome.batches, 25);
}
END_TEST

/* The server reads a row to change it if an index asks it to. */
START_TEST(rows_that_cannot_be_changed_either_stop_no_others)
{
    enum { N_DAMAGED = 70 };
    use_mode(_i);
    struct store *s = an_instance();
    execute("CREATE INDEX by_payload ON " T " (md5(payload))");
    produce(5);
    produce_damaged(N_DAMAGED, "NULL");
    produce(5);
    struct outcome outcome = drain(s, a_claim(10), "toast value");
    ck_assert_uint_eq(outcome.good, 10);
    ck_assert_uint_le(outcome.bad, N_DAMAGED);
    ck_assert_uint_eq(outcome.aside, outcome.bad);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'pending'"), N_DAMAGED);
}
END_TEST

/* ---- encodings ---- */

static const uint32_t limits[] = {100, 1};
static const struct {
    const char *encoding;
    const char *bad; /* bytes that make no character */
    const char *why;
} encodings[] = {
    {"SQL_ASCII", "caf\xE9 noir", "invalid byte sequence"},
    {"WIN1252", "\x81", "no equivalent"},
};
#define N_ENCODINGS ((int)(sizeof encodings / sizeof encodings[0]))

/* The database that has the name of the schema. */
static PGconn *open_bad(int encoding)
{
    char conninfo[400];
    snprintf(conninfo, sizeof conninfo, "%s dbname=%s client_encoding=%s", getenv("OUTBOX_TEST_PG"),
             the_schema(), encodings[encoding].encoding);
    PGconn *db = PQconnectdb(conninfo);
    ck_assert_msg(PQstatus(db) == CONNECTION_OK, "%s", PQerrorMessage(db));
    return db;
}

static void produce_bad(int encoding)
{
    char text[400];
    const char *bad = encodings[encoding].bad;
    PGconn *db = open_bad(encoding);
    snprintf(text, sizeof text,
             "INSERT INTO " T " (topic, key, headers, last_error) VALUES ('good', '1', NULL, ''),"
             " ('%s', '', NULL, '%s'), ('good', '2', NULL, ''), ('t', '%s', NULL, ''),"
             " ('t', '', '{\"a\":\"%s\"}', ''), ('good', '3', NULL, '')",
             bad, bad, bad, bad);
    run_pg(db, text);
    PQfinish(db);
}

/* Who asks for a topic gets what has it, whatever others have. */
static void assert_filtered(struct store *s)
{
    const struct outbox_filter good = {.size = sizeof good, .topic = str("g*")};
    struct outbox_err err = {.size = sizeof err};
    struct outbox_page *page;
    assert_class(store_list(s, &good, INT64_MIN, 10, CALL, &page, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(page->n, 3);
    for (uint32_t i = 0; i < page->n; i++)
        ck_assert_ptr_null(page->rows[i]->message->defect.p);
}

/* A row whose reason alone cannot be sent. */
static void spoil_reason(int encoding)
{
    char sql[200];
    PGconn *db = open_bad(encoding);
    snprintf(sql, sizeof sql, "UPDATE " T " SET last_error = '%s' WHERE status = 'failed'",
             encodings[encoding].bad);
    run_pg(db, sql);
    PQfinish(db);
}

START_TEST(a_row_that_is_not_utf_8_fails_alone)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    char more[100];
    int encoding = _i / MODES_DIRECT / 2;
    use_mode(_i / 2 % MODES_DIRECT);
    execute("SET client_min_messages = warning");
    execute("DROP DATABASE IF EXISTS %s", the_schema());
    execute("CREATE DATABASE %s ENCODING '%s' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
            the_schema(), encodings[encoding].encoding);
    snprintf(more, sizeof more, "dbname=%s", the_schema());
    use_option("table", T);
    struct store *s = instance_as("one", more);
    assert_class(store_init(s, CALL, &done, &err), OUTBOX_OK, &err);
    produce_bad(encoding);
    assert_filtered(s);
    struct outcome outcome = drain(s, a_claim(limits[_i % 2]), encodings[encoding].why);
    ck_assert_uint_eq(outcome.good, 3);
    ck_assert_uint_eq(outcome.bad, 3);
    ck_assert_uint_eq(outcome.aside, 0);
    assert_filtered(s);
    assert_listed(s, 6, 3);
    spoil_reason(encoding);
    assert_listed(s, 6, 3);
    store_close(s);
    execute("DROP DATABASE %s WITH (FORCE)", the_schema());
}
END_TEST

/* Part of PostgreSQL since 14; elsewhere a package of its own that a developer may not have. */
static bool can_damage(void)
{
    const char *ci = getenv("CI");
    PGconn *db = PQconnectdb(getenv("OUTBOX_TEST_PG"));
    PGresult *result =
        PQexec(db, "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_surgery'");
    bool can = PQntuples(result) == 1;
    PQclear(result);
    PQfinish(db);
    return can || (ci && *ci);
}

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    Suite *suite = suite_create("store-postgres: unreadable");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "unreadable");
    if (can_damage()) {
        tcase_add_loop_test(tc, a_row_whose_storage_is_damaged_fails_alone, 0, N_WAYS * N_MODES);
        tcase_add_loop_test(tc, a_bad_row_among_many_makes_few_batches_small, 0, MODES_DIRECT);
        tcase_add_loop_test(tc, rows_that_cannot_be_changed_either_stop_no_others, 0, N_MODES);
    }
    tcase_add_loop_test(tc, a_row_that_is_not_utf_8_fails_alone, 0, 2 * N_ENCODINGS * MODES_DIRECT);
    return unit_main(suite);
}
