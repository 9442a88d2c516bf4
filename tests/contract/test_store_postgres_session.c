/* SPDX-License-Identifier: Apache-2.0 */
/* What a session is told, and what it must not keep; names and functions of other schemas; settings
 * of the role; prepared statements. */
#include "postgres_rig.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a pooler's sessions are everybody's ---- */

static int64_t number_through_pooler(const char *sql)
{
    PGconn *db = PQconnectdb(pooled_conninfo());
    int64_t n = store_kind()->number(db, sql);
    PQfinish(db);
    return n;
}

START_TEST(a_poolers_sessions_keep_nothing_of_ours)
{
    static const char ours[] =
        "SELECT count(*) FROM pg_settings WHERE source = 'session' AND (name LIKE 'enable%' OR name"
        " LIKE '%timeout' OR name IN ('jit', 'search_path', 'plan_cache_mode', "
        "'synchronous_commit',"
        " 'default_transaction_isolation'))";
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    assert_class(store_init(s, CALL, &done, &err), OUTBOX_OK, &err);
    do_everything(s);
    ck_assert_int_eq(number_through_pooler(ours), 0);
    produce(1);
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    ck_assert_int_eq(number_through_pooler(ours), 0);
    release(s, batch);
    ck_assert_int_eq(number_through_pooler(ours), 0);
}
END_TEST

/* ---- what the role brings along ---- */

/* Which is told with the connection: libpq's options take a backslash before a space. */
static struct store *instance_with_settings(const char *settings)
{
    char more[400];
    snprintf(more, sizeof more, "options='%s'", settings);
    return instance_as("one", more);
}

START_TEST(a_table_without_a_schema_is_made_where_the_search_path_says)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    char settings[200];
    use_mode(_i);
    use_option("table", "plain");
    snprintf(settings, sizeof settings, "-c search_path=nowhere,%s,public", the_schema());
    struct store *s = instance_with_settings(settings);
    assert_class(store_check(s, CALL, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, the_schema());
    assert_says(&err, "outboxd init");
    assert_class(store_init(s, CALL, &done, &err), OUTBOX_OK, &err);
    do_everything(s);
    ck_assert_int_eq(number("SELECT count(*) FROM %s.plain_schema", the_schema()), 1);
    s = instance_with_settings("-c search_path=nowhere");
    assert_class(store_init(s, CALL, &done, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "table = SCHEMA.plain");
}
END_TEST

START_TEST(settings_of_the_role_do_not_change_what_a_claim_does)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call long_call = within(100000);
    use_mode(_i);
    struct store *s = instance_with_settings(
        "-c default_transaction_isolation=serializable -c statement_timeout=3000 "
        "-c idle_in_transaction_session_timeout=1 -c synchronous_commit=off "
        "-c bytea_output=escape -c IntervalStyle=sql_standard -c DateStyle=German "
        "-c TimeZone=Asia/Kathmandu -c array_nulls=off -c row_security=off");
    do_everything(s);
    /* The settings for a longer call are due at the beginning of a transaction. */
    produce(1);
    release(s, claim(s, 10, LEASE_MS));
    assert_class(store_check(s, &long_call, &err), OUTBOX_OK, &err);
    struct outbox_claim what = a_claim(10);
    struct outbox_batch *batch;
    what.hold_ms = 5000;
    assert_class(try_claim(s, what, long_call, &batch, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(batch->n, 1);
    sleep_ms(10);
    assert_class(try_settle(s, batch, DONE, within(5000), NULL, &err), OUTBOX_OK, &err);
    release(s, batch);
}
END_TEST

/* The sister of the time-out for idle transactions ends sessions that only listen, or live. */
START_TEST(a_session_that_waits_is_not_ended_for_it)
{
    use_mode(_i);
    struct store *s = instance_with_settings("-c idle_session_timeout=200");
    release(s, claim(s, 10, LEASE_MS));
    ck_assert(soon("SELECT bool_or(state_change < clock_timestamp() - interval '1 second') FROM"
                   " pg_stat_activity WHERE application_name LIKE 'one-%'"));
    ck_assert_int_eq(sessions("one"), 1);
}
END_TEST

/* Whatever name we use, somebody has made one like it, and put it first. */
static void make_hostile_schema(void)
{
    static const char *const functions[] = {
        "clock_timestamp() RETURNS timestamptz",
        "statement_timestamp() RETURNS timestamptz",
        "now() RETURNS timestamptz",
        "octet_length(bytea) RETURNS int",
        "set_config(text, text, boolean) RETURNS text",
        "to_regclass(text) RETURNS regclass",
        "txid_current_if_assigned() RETURNS bigint",
        "seven(text, text) RETURNS boolean",
        "eight(bigint, bigint) RETURNS boolean",
        "nine(bigint, integer) RETURNS boolean",
        "ten(name, text) RETURNS boolean",
        "eleven(bigint, interval) RETURNS interval",
        "twelve(numeric, integer) RETURNS numeric",
        "thirteen(oid, integer) RETURNS boolean",
    };
    static const struct {
        const char *name, *left, *right, *function;
    } operators[] = {
        {"=", "text", "text", "seven"},        {"=", "bigint", "bigint", "eight"},
        {"=", "bigint", "integer", "nine"},    {"=", "name", "text", "ten"},
        {">", "bigint", "bigint", "eight"},    {"<=", "bigint", "bigint", "eight"},
        {"<>", "bigint", "bigint", "eight"},   {"*", "bigint", "interval", "eleven"},
        {"*", "numeric", "integer", "twelve"}, {"=", "oid", "integer", "thirteen"},
    };
    execute("CREATE SCHEMA %s_x", the_schema());
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        execute("CREATE FUNCTION %s_x.%s LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hostile';"
                " END $$",
                the_schema(), functions[i]);
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++)
        execute("CREATE OPERATOR %s_x.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = %s_x.%s)",
                the_schema(), operators[i].name, operators[i].left, operators[i].right,
                the_schema(), operators[i].function);
    execute("CREATE DOMAIN %s_x.int8 AS bigint CHECK (VALUE IS NULL)", the_schema());
    execute("CREATE DOMAIN %s_x.text AS pg_catalog.text CHECK (VALUE IS NULL)", the_schema());
}

START_TEST(functions_and_operators_of_a_hostile_schema_do_not_run)
{
    char settings[200];
    make_hostile_schema();
    use_mode(_i);
    snprintf(settings, sizeof settings, "-c search_path=%s_x,pg_catalog,%s", the_schema(),
             the_schema());
    do_everything(instance_with_settings(settings));
    use_option("table", T);
    do_everything(instance_with_settings(settings));
    execute("SET client_min_messages = warning");
    execute("DROP SCHEMA %s_x CASCADE", the_schema());
}
END_TEST

/* ---- how long a batch may be held ---- */

START_TEST(the_server_frees_the_rows_of_a_relay_that_was_stopped)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_claim what = a_claim(10);
    struct outbox_batch *batch;
    use_mode(_i);
    struct store *s = instance_as("one", NULL), *other = instance_as("two", NULL);
    release(s, claim(s, 10, LEASE_MS));
    what.hold_ms = 100; /* two seconds more are given to it */
    assert_class(try_claim(s, what, within(5000), &batch, &err), OUTBOX_OK, &err);
    release(s, batch); /* an empty one, undone with all that its transaction was told */
    produce(3);
    int64_t begun = now_ms();
    assert_class(try_claim(s, what, within(5000), &batch, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(batch->n, 3);
    struct outbox_batch *theirs = claim(other, 10, LEASE_MS);
    if (theirs->n == 0) {
        release(other, theirs);
        theirs = claim_soon(other);
    }
    ck_assert_uint_eq(theirs->n, 3);
    ck_assert_int_ge(now_ms() - begun, 1000);
    ck_assert_int_lt(now_ms() - begun, 30000);
    ck_assert_uint_eq(settle_at_last(s, batch, DONE, NULL), 3);
    release(s, batch);
    ck_assert_uint_eq(settle_all(other, theirs, DONE), 0);
    release(other, theirs);
}
END_TEST

/* ---- prepared statements ---- */

/* In every mode, with prepare = auto, on and off. */
#define N_PREPARES (3 * N_MODES)
START_TEST(prepared_statements_that_vanish_are_made_again)
{
    static const char *const prepares[] = {"auto", "on", "off"};
    struct outbox_err err;
    use_mode(_i % N_MODES);
    use_option("prepare", prepares[_i / N_MODES]);
    struct store *s = instance_as("one", NULL);
    execute("CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DEALLOCATE ALL;"
            " RETURN NEW; END $$; CREATE TRIGGER forgets BEFORE UPDATE ON " T
            " FOR EACH ROW EXECUTE FUNCTION forget()");
    int failures = 0;
    for (int i = 0; i < 6; i++) {
        struct outbox_batch *batch;
        produce(1);
        while (try_claim(s, a_claim(10), within(5000), &batch, &err) < 0)
            ck_assert_msg(failures++ < 6, "%s", err.text);
        ck_assert_uint_eq(batch->n, 1);
        while (try_settle(s, batch, DONE, within(5000), NULL, &err) < 0)
            ck_assert_msg(failures++ < 12, "%s", err.text);
        release(s, batch);
    }
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), 6);
    ck_assert(strcmp(prepares[_i / N_MODES], "off") != 0 || failures == 0);
    execute("DROP TRIGGER forgets ON " T);
    use_option("prepare", "auto");
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    unit_needs("OUTBOX_TEST_PGBOUNCER");
    Suite *suite = suite_create("store-postgres: session");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "session");
    tcase_add_loop_test(tc, a_poolers_sessions_keep_nothing_of_ours, MODES_DIRECT, N_MODES);
    tcase_add_loop_test(tc, a_table_without_a_schema_is_made_where_the_search_path_says, 0,
                        MODES_DIRECT);
    tcase_add_loop_test(tc, settings_of_the_role_do_not_change_what_a_claim_does, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, a_session_that_waits_is_not_ended_for_it, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, functions_and_operators_of_a_hostile_schema_do_not_run, 0,
                        MODES_DIRECT);
    tcase_add_test(tc, the_server_frees_the_rows_of_a_relay_that_was_stopped);
    tcase_add_loop_test(tc, the_server_frees_the_rows_of_a_relay_that_was_stopped,
                        MODE_LOCKS_POOLED, MODE_LOCKS_POOLED + 1);
    tcase_add_loop_test(tc, prepared_statements_that_vanish_are_made_again, 0, N_PREPARES);
    return unit_main(suite);
}
