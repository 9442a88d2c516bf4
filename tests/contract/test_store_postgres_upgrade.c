/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the Go package `outbox`, upgraded in place while it is in use. */
#include "go_table.h"
#include "postgres_rig.h"
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GO "go_messages"

static struct store *go_instance(const char *more)
{
    char table[128];
    snprintf(table, sizeof table, "%s." GO, the_schema());
    use_option("table", table);
    return instance_as("one", more);
}

static void upgrade(struct store *s)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done = {NULL, 0};
    assert_class(store_check(s, CALL, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "outboxd init");
    assert_class(store_init(s, LONG_CALL, &done, &err), OUTBOX_OK, &err);
    ck_assert_ptr_nonnull(strstr(done.p, "upgraded"));
    assert_class(store_check(s, CALL, &err), OUTBOX_OK, &err);
}

/* Whatever happened on the way: all rows, each with its own number, old ones in their order. */
static void assert_upgraded(int64_t rows)
{
    ck_assert_int_eq(number("SELECT count(*) FROM " GO), rows);
    ck_assert_int_eq(number("SELECT count(DISTINCT seq) FROM " GO " WHERE seq > 0"), rows);
    ck_assert_int_eq(number("SELECT count(*) FROM (SELECT created_at < lag(created_at) OVER"
                            " (ORDER BY seq) AS late FROM " GO " WHERE topic = 'old') x WHERE"
                            " late"),
                     0);
    ck_assert_int_eq(number("SELECT count(*) FROM " GO " a WHERE topic = 'new' AND seq <"
                            " (SELECT max(seq) FROM " GO " WHERE topic = 'old')"),
                     0);
    ck_assert_int_eq(number("SELECT count(*) FROM pg_index WHERE indrelid = '" GO
                            "'::regclass AND NOT indisvalid"),
                     0);
    ck_assert_int_eq(number("SELECT count(*) FROM pg_class WHERE relnamespace = '%s'::regnamespace"
                            " AND relname = '" GO "_upgrade'",
                            the_schema()),
                     0);
}

/* ---- what is kept ---- */

#define OLD_COLUMNS                                                                            \
    "SELECT convert_to(string_agg(concat_ws('|', id, topic, key, payload, headers, retries,"   \
    " last_error, created_at, processed_at, CASE status WHEN 'processing' THEN 'pending' ELSE" \
    " status END), E'\\n' ORDER BY id), 'UTF8') FROM " GO

START_TEST(rows_of_every_state_are_kept_as_they_were)
{
    use_mode(_i);
    execute(GO_TABLE(GO));
    execute("INSERT INTO " GO " (topic, payload, headers, status, retries, last_error, created_at,"
            " processed_at) VALUES ('5', NULL, 'null', 'pending', 0, '', '2026-01-05', NULL),"
            " ('1', '\\x00', NULL, 'pending', 0, '', '-infinity', NULL),"
            " ('3', 'p', '{\"destination\":\"jobs\"}', 'processing', 2, 'e', '2026-01-03', NULL),"
            " ('2', 'p', '{}', 'processed', 0, '', '2026-01-02', '2026-01-03'),"
            " ('4', '', '[1]', 'failed', 5, 'dead', '2026-01-04', NULL),"
            " ('6', '', '{}', 'pending', 0, '', 'infinity', NULL)");
    char *before = store_kind()->bytes(the_connection(), OLD_COLUMNS);
    struct store *s = go_instance(NULL);
    upgrade(s);
    char *after = store_kind()->bytes(the_connection(), OLD_COLUMNS);
    ck_assert_str_eq(before, after);
    ck_assert_int_eq(number("SELECT string_agg(topic, '' ORDER BY seq)::int FROM " GO), 123456);
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 4);
    assert_str(batch->messages[1]->topic, "3");
    assert_str(batch->messages[1]->headers[0].value, "jobs");
    ck_assert_uint_eq(batch->messages[1]->retries, 2);
    release(s, batch);
    free(before);
    free(after);
    /* Once only: later a row that says so is somebody's. */
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    execute("UPDATE " GO " SET status = 'processing' WHERE topic = '1'");
    assert_class(store_init(s, LONG_CALL, &done, &err), OUTBOX_OK, &err);
    ck_assert_ptr_nonnull(strstr(done.p, "up to date"));
    ck_assert_int_eq(number("SELECT count(*) FROM " GO " WHERE status = 'processing'"), 1);
}
END_TEST

/* Columns, defaults and indexes of a table, whatever their order and its name. */
#define FORM                                                                                       \
    "SELECT (SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod),"          \
    " attnotnull, attidentity, pg_get_expr(adbin, adrelid)), E'\\n' ORDER BY attname)"             \
    "  FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"            \
    "  WHERE attrelid = '%1$s.%2$s'::regclass AND attnum > 0 AND NOT attisdropped)"                \
    " || (SELECT string_agg(replace(replace(indexdef, '%2$s', 'TABLE'), '%1$s', 'SCHEMA'), E'\\n'" \
    "  ORDER BY replace(indexname, '%2$s', 'TABLE')) FROM pg_indexes WHERE schemaname = '%1$s'"    \
    "  AND tablename = '%2$s' AND indexname NOT LIKE 'idx%%')"                                     \
    " || (SELECT string_agg(o, ',' ORDER BY o) FROM pg_class, unnest(reloptions) o"                \
    "  WHERE oid = '%1$s.%2$s'::regclass)"

static char *form_of(const char *schema, const char *table)
{
    char *sql = NULL;
    ck_assert_int_gt(asprintf(&sql, FORM, schema, table), 0);
    PGresult *result = PQexec(the_connection(), sql);
    ck_assert_msg(PQresultStatus(result) == PGRES_TUPLES_OK, "%s",
                  PQerrorMessage(the_connection()));
    ck_assert(!PQgetisnull(result, 0, 0));
    char *form = strdup(PQgetvalue(result, 0, 0));
    PQclear(result);
    free(sql);
    return form;
}

START_TEST(an_upgraded_table_is_like_a_new_one_and_like_the_printed_one)
{
    struct outbox_err err = {.size = sizeof err};
    char schema[100];
    execute(GO_TABLE(GO));
    upgrade(go_instance(NULL));
    snprintf(schema, sizeof schema, "%s_p", the_schema());
    execute("CREATE SCHEMA %s", schema);
    execute("SET search_path = %s", schema);
    use_option("table", T);
    struct outbox_exec exec = store_kind()->exec(the_connection());
    assert_class(store_schema(an_instance(), &exec, &err), OUTBOX_OK, &err);
    char *made = form_of(the_schema(), T), *upgraded = form_of(the_schema(), GO);
    char *printed = form_of(schema, T);
    ck_assert_str_eq(upgraded, made);
    ck_assert_str_eq(printed, made);
    free(made);
    free(upgraded);
    free(printed);
    execute("SET client_min_messages = warning");
    execute("DROP SCHEMA %s CASCADE", schema);
}
END_TEST

START_TEST(what_others_added_to_the_table_stays)
{
    execute(GO_TABLE(GO));
    execute("SET client_min_messages = warning");
    execute("DROP ROLE IF EXISTS %s", the_schema());
    execute("CREATE ROLE %s", the_schema());
    execute("ALTER TABLE " GO " ADD COLUMN tenant text NOT NULL DEFAULT 'mine', ADD COLUMN mine"
            " bigint GENERATED ALWAYS AS IDENTITY (START WITH 77)");
    execute("CREATE INDEX by_tenant ON " GO " (tenant)");
    execute("CREATE VIEW waiting AS SELECT * FROM " GO " WHERE status = 'pending'");
    execute("CREATE TABLE log (id uuid, seq bigint)");
    execute("CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log"
            " VALUES (new.id); RETURN NULL; END $$");
    execute("CREATE TRIGGER logged AFTER INSERT ON " GO " FOR EACH ROW EXECUTE FUNCTION log()");
    execute("GRANT INSERT ON " GO " TO %s", the_schema());
    execute(GO_ROWS(GO, "10"));
    upgrade(go_instance(NULL));
    assert_upgraded(10);
    execute("GRANT USAGE ON SCHEMA %s TO %s", the_schema(), the_schema());
    execute("GRANT INSERT ON log TO %s", the_schema());
    execute("SET ROLE %s", the_schema());
    execute("INSERT INTO " GO " (topic, tenant) VALUES ('new', 'theirs')");
    execute("RESET ROLE");
    ck_assert_int_eq(number("SELECT count(*) FROM log"), 11);
    ck_assert_int_eq(number("SELECT count(*) FROM waiting"), 11);
    ck_assert_int_eq(number("SELECT mine FROM " GO " WHERE tenant = 'theirs'"), 87);
    ck_assert_int_eq(number("SELECT count(*) FROM pg_indexes WHERE indexname = 'by_tenant' AND"
                            " schemaname = '%s'",
                            the_schema()),
                     1);
    assert_upgraded(11);
    execute(GO_TABLE(GO)); /* that package's next start */
    execute("DROP OWNED BY %s", the_schema());
    execute("DROP ROLE %s", the_schema());
}
END_TEST

/* ---- what is refused ---- */

static const char *const no_outboxes[] = {
    "(id integer PRIMARY KEY, topic text)",
    "(id bigint PRIMARY KEY, topic text, key text, payload bytea, headers jsonb, status text,"
    " retries int, last_error text, created_at timestamptz, processed_at timestamptz)",
    "(id uuid PRIMARY KEY, topic text, key text, payload text, headers jsonb, status text,"
    " retries int, last_error text, created_at timestamptz, processed_at timestamptz)",
    "(id uuid PRIMARY KEY, topic text, key text, payload bytea, headers jsonb, status integer,"
    " retries int, last_error text, created_at timestamptz, processed_at timestamptz)",
    "(id uuid PRIMARY KEY, topic text, key text, payload bytea, headers jsonb, status text,"
    " retries int, last_error text, created_at timestamp, processed_at timestamptz)",
};
#define N_NO_OUTBOXES ((int)(sizeof no_outboxes / sizeof no_outboxes[0]))

START_TEST(a_table_that_is_no_outbox_is_left_alone)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    execute("CREATE TABLE " GO " %s", no_outboxes[_i]);
    int64_t before =
        number("SELECT count(*) FROM pg_attribute WHERE attrelid = '" GO "'::regclass");
    assert_class(store_init(go_instance(NULL), LONG_CALL, &done, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "no outbox table");
    ck_assert_int_eq(
        number("SELECT count(*) FROM pg_attribute WHERE attrelid = '" GO "'::regclass"), before);
    ck_assert_int_eq(number("SELECT count(*) FROM pg_class WHERE relname LIKE '" GO "_%%' AND"
                            " relnamespace = '%s'::regnamespace AND relkind = 'r'",
                            the_schema()),
                     0);
}
END_TEST

/* Rows are found by their place in the table, which is another row's in a part of it. */
START_TEST(a_table_in_parts_is_refused)
{
    struct outbox_err err = {.size = sizeof err};
    execute("CREATE TABLE kid () INHERITS (" T ")");
    assert_class(store_check(an_instance(), CALL, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "other tables inherit from it");
    execute("DROP TABLE kid");
    assert_class(store_check(an_instance(), CALL, &err), OUTBOX_OK, &err);
}
END_TEST

START_TEST(a_name_that_is_taken_is_told)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    execute(GO_TABLE(GO));
    execute("CREATE TABLE " GO "_ready (x int)");
    assert_class(store_init(go_instance(NULL), LONG_CALL, &done, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, GO "_ready");
    execute("DROP TABLE " GO "_ready");
    upgrade(go_instance(NULL));
}
END_TEST

/* ---- interruptions ---- */

/* 0: before a statement is seen, 1: after it is done; later and later ones. */
START_TEST(an_upgrade_that_was_cut_off_anywhere_is_finished_by_the_next)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    char more[32];
    int cuts = 0;
    execute(GO_TABLE(GO));
    execute(GO_ROWS(GO, "12000")); /* more than two batches */
    execute("UPDATE " GO " SET status = 'processing' WHERE payload = '17'");
    struct forward *f = a_forwarder(MODE_LOCKS);
    snprintf(more, sizeof more, "port=%d", forward_port(f));
    struct store *s = go_instance(more);
    for (int skip = 0;; skip++) {
        forward_cut(f, _i == 0 ? FORWARD_CUT_REQUEST : FORWARD_CUT_ANSWER, skip);
        int r = store_init(s, LONG_CALL, &done, &err);
        bool cut = forward_has_cut(f);
        forward_cut(f, FORWARD_CUT_NEVER, 0);
        execute("INSERT INTO " GO " (topic) VALUES ('new')");
        cuts += cut;
        if (r == 0 && !cut)
            break;
        ck_assert_msg(r == OUTBOX_E_RETRY, "after %d statements: %s", skip, err.text);
        store_close(s);
        assert_class(store_open(s, s->instance.plugin, the_options(), NULL, &err), OUTBOX_OK, &err);
    }
    ck_assert_int_gt(cuts, 10);
    assert_upgraded(12000 + cuts + 1);
    ck_assert_int_eq(number("SELECT count(*) FROM " GO " WHERE status = 'pending'"),
                     12000 + cuts + 1);
    assert_class(store_check(go_instance(NULL), CALL, &err), OUTBOX_OK, &err);
    store_close(s);
    forward_stop(f);
}
END_TEST

static void *init_once(void *arg)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    int r = store_init(arg, LONG_CALL, &done, &err);
    return r < 0 ? strdup(err.text) : NULL;
}

/* 0: the table is old, 1: there is none. */
START_TEST(several_may_init_at_once)
{
    enum { CROWD = 5 };
    pthread_t threads[CROWD];
    struct store *stores[CROWD];
    use_option("notify", "on");
    if (_i == 0) {
        execute(GO_TABLE(GO));
        execute(GO_ROWS(GO, "20000"));
    }
    for (int i = 0; i < CROWD; i++)
        stores[i] = go_instance(NULL);
    for (int i = 0; i < CROWD; i++)
        pthread_create(&threads[i], NULL, init_once, stores[i]);
    for (int i = 0; i < CROWD; i++) {
        char *error = NULL;
        pthread_join(threads[i], (void **)&error);
        ck_assert_msg(!error, "%s", error);
    }
    assert_upgraded(_i == 0 ? 20000 : 0);
    ck_assert_int_eq(number("SELECT count(*) FROM " GO "_schema"), 1);
    ck_assert_int_eq(number("SELECT count(*) FROM pg_trigger WHERE tgrelid = '" GO "'::regclass"),
                     1);
}
END_TEST

START_TEST(an_upgrade_works_through_a_pooler)
{
    use_mode(MODE_LOCKS_POOLED);
    execute(GO_TABLE(GO));
    execute(GO_ROWS(GO, "100"));
    upgrade(go_instance(NULL));
    assert_upgraded(100);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    unit_needs("OUTBOX_TEST_PGBOUNCER");
    Suite *suite = suite_create("store-postgres: upgrade");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "upgrade");
    tcase_add_loop_test(tc, rows_of_every_state_are_kept_as_they_were, 0, MODES_DIRECT);
    tcase_add_test(tc, an_upgraded_table_is_like_a_new_one_and_like_the_printed_one);
    tcase_add_test(tc, what_others_added_to_the_table_stays);
    tcase_add_loop_test(tc, a_table_that_is_no_outbox_is_left_alone, 0, N_NO_OUTBOXES);
    tcase_add_test(tc, a_table_in_parts_is_refused);
    tcase_add_test(tc, a_name_that_is_taken_is_told);
    tcase_add_loop_test(tc, an_upgrade_that_was_cut_off_anywhere_is_finished_by_the_next, 0, 2);
    tcase_add_loop_test(tc, several_may_init_at_once, 0, 2);
    tcase_add_test(tc, an_upgrade_works_through_a_pooler);
    return unit_main(suite);
}
