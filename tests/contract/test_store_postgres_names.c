/* SPDX-License-Identifier: Apache-2.0 */
/* Tables with any name, and databases with encodings that have not all of UTF-8. */
#include "postgres_rig.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIFTY "fifty-fifty-fifty-fifty-fifty-fifty-fifty-fifty-50"

static const struct {
    const char *option; /* S is the schema of the case */
    const char *name;
} names[] = {
    {"plain", "plain"},
    {"S.in_a_schema", "in_a_schema"},
    {"S.\"quoted\"", "quoted"},
    {"S.\"with.a.dot\"", "with.a.dot"},
    {"S.\"with \"\"quotes\"\"\"", "with \"quotes\""},
    {"S.with'apostrophe", "with'apostrophe"},
    {"S.MixedCase", "MixedCase"},
    {"S.\xC3\xA4usserst_\xF0\x9F\x92\xA9", "\xC3\xA4usserst_\xF0\x9F\x92\xA9"},
    {"S." FIFTY, FIFTY},
    {"S.x; DROP TABLE outbox_messages; --", "x; DROP TABLE outbox_messages; --"},
    {"S.select", "select"},
    {"S.a{t}b{t_leases}c%s$1", "a{t}b{t_leases}c%s$1"},
    {"S.back\\slash", "back\\slash"},
    {"S.white space ", "white space "},
};
#define N_NAMES ((int)(sizeof names / sizeof names[0]))

static void use_table(const char *option)
{
    char table[200];
    if (option[0] == 'S' && option[1] == '.')
        snprintf(table, sizeof table, "\"%s\".%s", the_schema(), option + 2);
    else
        snprintf(table, sizeof table, "%s", option);
    use_option("table", table);
}

static int64_t tables_named(const char *name)
{
    PGconn *db = the_connection();
    const char *values[] = {name, the_schema()};
    PGresult *result = PQexecParams(db,
                                    "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON"
                                    " n.oid = relnamespace WHERE relkind = 'r' AND nspname = $2"
                                    " AND relname::text IN ($1::text, $1::text || '_leases',"
                                    " $1::text || '_relays', $1::text || '_schema')",
                                    2, NULL, values, NULL, NULL, 0);
    ck_assert_int_eq(PQresultStatus(result), PGRES_TUPLES_OK);
    int64_t n = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return n;
}

START_TEST(a_table_may_have_any_name)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    char more[100], notify[400];
    use_mode(_i / N_NAMES);
    use_option("notify", "on");
    use_table(names[_i % N_NAMES].option);
    snprintf(more, sizeof more, "options='-c search_path=%s'", the_schema());
    snprintf(notify, sizeof notify, "%s %s", getenv("OUTBOX_TEST_PG"), more);
    use_option("notify_conninfo", notify);
    struct store *s = instance_as("one", more);
    assert_class(store_check(s, CALL, &err), OUTBOX_E_CONFIG, &err);
    assert_class(store_init(s, CALL, &done, &err), OUTBOX_OK, &err);
    ck_assert_int_eq(tables_named(names[_i % N_NAMES].name), 4);
    do_everything(s);
    assert_class(store_init(s, CALL, &done, &err), OUTBOX_OK, &err);
    ck_assert_int_eq(number("SELECT count(*) FROM " T), 0); /* the other one is still there */
}
END_TEST

START_TEST(what_cannot_be_a_name_is_refused)
{
    static const char *const bad[] = {
        "",
        ".",
        "a.",
        ".a",
        "a.b.c",
        "\"a",
        "\"a\"b",
        "a\"b",
        "\"\".a",
        "a.\"",
        FIFTY "1",
        "S.\xFF\xFE",
        "\"a\".\"b\".c",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b",
    };
    struct outbox_err err;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        use_option("table", bad[i]);
        assert_class(try_instance(&err), OUTBOX_E_CONFIG, &err);
        assert_says(&err, "table");
    }
}
END_TEST

/* ---- encodings ---- */

static void settle_with_reasons(struct store *s, struct outbox_batch *batch)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_settle items[4];
    const struct outbox_settle *pointers[4];
    uint8_t stale[4];
    for (uint32_t i = 0; i < 4; i++) {
        items[i] = (struct outbox_settle){.size = sizeof items[i],
                                          .index = i,
                                          .action = OUTBOX_SETTLE_FAILED,
                                          .flags = OUTBOX_SETTLE_REASON | OUTBOX_SETTLE_CHARGE};
        pointers[i] = &items[i];
    }
    items[0].action = OUTBOX_SETTLE_DONE;
    items[0].flags = 0;
    items[1].reason = str("\xC3\xA4gerlich");
    items[2].reason = str("10 \xE2\x82\xAC \xF0\x9F\x92\xA9"); /* no Euro in LATIN1 */
    items[3].reason = (struct outbox_str){"\xFF\0\x01", 3};
    assert_class(store_settle(s, batch, pointers, 4, CALL, stale, &err), OUTBOX_OK, &err);
    for (int i = 0; i < 4; i++)
        ck_assert_uint_eq(stale[i], 0);
}

static const char *const encodings[] = {"LATIN1", "SQL_ASCII", "EUC_JP", "UTF8"};
#define N_ENCODINGS ((int)(sizeof encodings / sizeof encodings[0]))

START_TEST(a_reason_that_does_not_fit_the_database_keeps_nothing_from_being_settled)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    char more[100];
    use_mode(_i % MODES_DIRECT);
    execute("SET client_min_messages = warning");
    execute("DROP DATABASE IF EXISTS %s", the_schema());
    execute("CREATE DATABASE %s ENCODING '%s' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
            the_schema(), encodings[_i / MODES_DIRECT]);
    snprintf(more, sizeof more, "dbname=%s", the_schema());
    use_option("table", T);
    struct store *s = instance_as("one", more);
    assert_class(store_init(s, CALL, &done, &err), OUTBOX_OK, &err);
    do_everything(s);
    for (int i = 0; i < 4; i++)
        assert_class(save_one(s, (struct outbox_new){.key = str("\xC3\xA4")}, &err), OUTBOX_OK,
                     &err);
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 4);
    assert_str(batch->messages[0]->key, "\xC3\xA4");
    settle_with_reasons(s, batch);
    release(s, batch);
    struct outbox_filter all = {.size = sizeof all};
    struct outbox_page *page;
    assert_class(store_list(s, &all, INT64_MIN, 10, CALL, &page, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(page->n, 4);
    ck_assert_uint_eq(page->rows[0]->status, OUTBOX_PROCESSED);
    for (int i = 1; i < 4; i++) {
        ck_assert_uint_eq(page->rows[i]->status, OUTBOX_FAILED);
        ck_assert_uint_eq(page->rows[i]->message->retries, 1);
        ck_assert_uint_gt(page->rows[i]->last_error.n, 0);
    }
    ck_assert_mem_eq(page->rows[2]->last_error.p, "10 ", 3);
    store_close(s);
    execute("DROP DATABASE %s WITH (FORCE)", the_schema());
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    Suite *suite = suite_create("store-postgres: names");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "names");
    tcase_add_loop_test(tc, a_table_may_have_any_name, 0, N_NAMES * MODES_DIRECT);
    tcase_add_test(tc, what_cannot_be_a_name_is_refused);
    tcase_add_loop_test(tc,
                        a_reason_that_does_not_fit_the_database_keeps_nothing_from_being_settled, 0,
                        N_ENCODINGS * MODES_DIRECT);
    return unit_main(suite);
}
