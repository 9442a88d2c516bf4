/* SPDX-License-Identifier: Apache-2.0 */
/* What is amiss with a table is told by check, and what init once made it mends. */
#include "postgres_rig.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check(struct store *s, struct outbox_err *err)
{
    *err = (struct outbox_err){.size = sizeof *err};
    return store_check(s, CALL, err);
}

/* ---- what was dropped or broken ---- */

static const struct {
    const char *harm;
    const char *told;
    const char *proof; /* that init mended it; NULL: it cannot be */
} harms[] = {
    {"ALTER TABLE " T " ALTER status DROP DEFAULT", "column status has no default",
     "INSERT INTO " T " (topic) VALUES ('t')"},
    {"ALTER TABLE " T " ALTER status SET DEFAULT 'new'", "status has the default 'new'",
     "INSERT INTO " T " (topic) VALUES ('t')"},
    {"ALTER TABLE " T " ALTER id DROP DEFAULT, ALTER retries DROP DEFAULT,"
     " ALTER key DROP DEFAULT, ALTER last_error DROP DEFAULT, ALTER created_at DROP DEFAULT",
     "column created_at has no default", "INSERT INTO " T " (topic) VALUES ('t')"},
    {"ALTER TABLE " T " ALTER seq DROP IDENTITY", "column seq has no default",
     "INSERT INTO " T " (topic) VALUES ('t')"},
    {"ALTER TABLE " T " DROP COLUMN available_at", "column available_at is missing",
     "INSERT INTO " T " (topic, available_at) VALUES ('t', NULL)"},
    {"DROP INDEX " T "_ready", "index " T "_ready is missing", "SELECT '" T "_ready'::regclass"},
    {"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '" T "_seq'::regclass",
     "index " T "_seq is not valid", "SELECT '" T "_seq'::regclass"},
    {"ALTER TABLE " T " DROP COLUMN seq", "column seq is missing", "SELECT seq, lease FROM " T},
    {"DROP TABLE " T "_leases", "companion " T "_leases is missing", "SELECT * FROM " T "_leases"},
    {"ALTER TABLE " T "_relays DROP COLUMN lock", "no column lock",
     "SELECT lock FROM " T "_relays"},
    {"ALTER TABLE " T "_schema DROP CONSTRAINT " T "_schema_pkey", "_schema has no primary key",
     "SELECT '" T "_schema_pkey'::regclass"},
    {"SELECT setval(pg_get_serial_sequence('" T "', 'seq'), 1)", "behind the last row",
     "INSERT INTO " T " (topic) VALUES ('t')"},
    {"ALTER TABLE " T " ALTER created_at TYPE timestamp", "timestamp without time zone instead of",
     NULL},
    {"ALTER TABLE " T " DROP CONSTRAINT " T "_pkey", "id has no unique index", NULL},
    {"ALTER TABLE " T " DROP COLUMN last_error", "column last_error is missing", NULL},
};

START_TEST(what_was_dropped_is_told_and_made_again)
{
    struct outbox_err err;
    struct outbox_str done;
    struct store *s = instance_as("one", NULL);
    produce(5);
    execute("SET client_min_messages = warning");
    execute("%s", harms[_i].harm);
    assert_class(check(s, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, harms[_i].told);
    ck_assert_int_eq(!strstr(err.text, "; run `outboxd init`"), !harms[_i].proof);
    err = (struct outbox_err){.size = sizeof err};
    assert_class(store_init(s, CALL, &done, &err), harms[_i].proof ? OUTBOX_OK : OUTBOX_E_CONFIG,
                 &err);
    if (harms[_i].proof) {
        ck_assert_ptr_nonnull(strstr(done.p, "mended"));
        execute("%s", harms[_i].proof);
        execute("DELETE FROM " T " WHERE key = ''");
        assert_class(store_init(s, CALL, &done, &err), OUTBOX_OK, &err);
        ck_assert_ptr_nonnull(strstr(done.p, "up to date"));
        assert_class(check(s, &err), OUTBOX_OK, &err);
        ck_assert_int_eq(number("SELECT count(DISTINCT seq) FROM " T),
                         number("SELECT count(*) FROM " T));
        produce(2);
    } else {
        assert_says(&err, harms[_i].told);
    }
}
END_TEST

START_TEST(a_published_table_that_cannot_be_updated_is_told)
{
    struct outbox_err err;
    struct store *s = instance_as("one", NULL);
    execute("SET client_min_messages = error");
    execute("ALTER TABLE " T " REPLICA IDENTITY NOTHING");
    assert_class(check(s, &err), OUTBOX_OK, &err);
    execute("CREATE PUBLICATION %s FOR TABLE " T, the_schema());
    assert_class(check(s, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "REPLICA IDENTITY DEFAULT");
    execute("DROP PUBLICATION %s", the_schema());
}
END_TEST

/* ---- names ---- */

START_TEST(a_name_in_another_case_is_pointed_to)
{
    struct outbox_err err;
    char table[100];
    snprintf(table, sizeof table, "%s.Outbox_Messages", the_schema());
    use_option("table", table);
    assert_class(check(an_instance(), &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "." T " does: the case");
}
END_TEST

START_TEST(a_table_that_was_renamed_is_not_to_be_made_anew_without_a_thought)
{
    struct outbox_err err;
    struct outbox_str done;
    execute("ALTER TABLE " T " RENAME TO elsewhere");
    assert_class(check(an_instance(), &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "renamed");
    assert_says(&err, T "_schema");
    assert_class(store_init(an_instance(), CALL, &done, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "rename or drop it"); /* its indexes have their names still */
    execute("ALTER TABLE elsewhere RENAME TO " T);
    assert_class(check(an_instance(), &err), OUTBOX_OK, &err);
    /* Or all of it gets the new name; indexes need not. */
    static const char *const suffixes[] = {"", "_leases", "_relays", "_schema"};
    for (size_t i = 0; i < 4; i++)
        execute("ALTER TABLE " T "%s RENAME TO elsewhere%s", suffixes[i], suffixes[i]);
    char table[100];
    snprintf(table, sizeof table, "%s.elsewhere", the_schema());
    use_option("table", table);
    assert_class(check(an_instance(), &err), OUTBOX_OK, &err);
    assert_class(store_init(an_instance(), CALL, &done, &err), OUTBOX_OK, &err);
    ck_assert_ptr_nonnull(strstr(done.p, "up to date"));
}
END_TEST

START_TEST(a_table_is_kept_to_when_the_search_path_changes)
{
    struct outbox_err err;
    struct outbox_batch *batch;
    char more[200];
    execute("CREATE SCHEMA %s_y", the_schema());
    use_option("table", T);
    snprintf(more, sizeof more, "options='-c search_path=%s_y,%s'", the_schema(), the_schema());
    struct store *s = instance_as("one", more);
    produce(1);
    release(s, claim(s, 1, LEASE_MS));
    execute("CREATE TABLE %s_y." T " (LIKE " T " INCLUDING ALL)", the_schema());
    terminate("one");
    while (try_claim(s, a_claim(1), within(5000), &batch, &err) < 0)
        ck_assert_int_eq(err.code, OUTBOX_E_RETRY);
    ck_assert_uint_eq(batch->n, 1);
    release(s, batch);
    store_close(s);
    execute("SET client_min_messages = warning");
    execute("DROP SCHEMA %s_y CASCADE", the_schema());
}
END_TEST

/* ---- privileges ---- */

static void make_role(void)
{
    execute("SET client_min_messages = warning");
    execute("DROP ROLE IF EXISTS %s", the_schema());
    execute("CREATE ROLE %s LOGIN PASSWORD 'one'", the_schema());
    execute("GRANT USAGE ON SCHEMA %s TO %s", the_schema(), the_schema());
    execute("GRANT SELECT, INSERT, UPDATE, DELETE ON " T ", " T "_leases, " T "_relays TO %s",
            the_schema());
    execute("GRANT SELECT ON " T "_schema TO %s", the_schema());
}

static struct store *instance_of_role(void)
{
    char more[200];
    snprintf(more, sizeof more, "user=%s password=one", the_schema());
    return instance_as("one", more);
}

static void drop_role(struct store *s)
{
    store_close(s);
    execute("DROP OWNED BY %s", the_schema());
    execute("DROP ROLE %s", the_schema());
}

static const struct {
    const char *revoke;
    const char *told; /* NULL: a warning only */
} rights[] = {
    {"REVOKE UPDATE ON " T, "may not UPDATE"},
    {"REVOKE UPDATE (topic) ON " T,
     "(retries, last_error, processed_at, available_at, lane, lane_seq)"},
    {"REVOKE SELECT ON " T, "may not SELECT"},
    {"REVOKE DELETE ON " T, NULL},
    {"REVOKE INSERT ON " T "_relays", "_relays"},
    {"REVOKE DELETE ON " T "_relays", "_relays"},
    {"REVOKE UPDATE ON " T "_leases", "_leases"},
    {"REVOKE INSERT ON " T "_leases", "_leases"},
};
#define N_RIGHTS ((int)(sizeof rights / sizeof rights[0]))

START_TEST(each_privilege_that_is_missing_is_named)
{
    struct outbox_err err;
    use_mode(MODE_LEASES);
    make_role();
    struct store *s = instance_of_role();
    assert_class(check(s, &err), OUTBOX_OK, &err);
    if (strchr(rights[_i].revoke, '(')) { /* of columns only that are not enough */
        execute("REVOKE UPDATE ON " T " FROM %s", the_schema());
        execute("GRANT UPDATE (status, lease) ON " T " TO %s", the_schema());
    }
    execute("%s FROM %s", rights[_i].revoke, the_schema());
    assert_class(check(s, &err), rights[_i].told ? OUTBOX_E_CONFIG : OUTBOX_OK, &err);
    if (rights[_i].told)
        assert_says(&err, rights[_i].told);
    else
        ck_assert_int_eq(times_logged("may not DELETE"), 1);
    drop_role(s);
}
END_TEST

/* It can do nothing, but look it can. */
START_TEST(who_may_only_look_is_not_kept_from_it)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_filter all = {.size = sizeof all};
    struct outbox_page *page;
    struct outbox_stats stats;
    make_role();
    execute("REVOKE INSERT, UPDATE, DELETE ON " T ", " T "_leases, " T "_relays FROM %s",
            the_schema());
    produce(3);
    struct store *s = instance_of_role();
    assert_class(store_list(s, &all, INT64_MIN, 10, CALL, &page, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(page->n, 3);
    assert_class(store_stats(s, str(""), 0, CALL, &stats, &err), OUTBOX_OK, &err);
    drop_role(s);
}
END_TEST

START_TEST(init_by_the_relays_role_is_to_be_run_by_the_owner)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    make_role();
    struct store *s = instance_of_role();
    assert_class(store_init(s, CALL, &done, &err), OUTBOX_OK, &err); /* nothing to do */
    execute("DROP INDEX " T "_ready");
    assert_class(store_init(s, CALL, &done, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "as the table's owner");
    ck_assert_ptr_null(strstr(err.text, "grant"));
    drop_role(s);
}
END_TEST

/* ---- row security ---- */

static const struct {
    const char *policy;
    bool passes;
} policies[] = {
    {"CREATE POLICY p ON " T " FOR INSERT WITH CHECK (true)", false},
    {"CREATE POLICY p ON " T " FOR SELECT USING (true)", false},
    {"CREATE POLICY p ON " T " FOR ALL USING (topic <> 'x')", false},
    {"CREATE POLICY p ON " T " FOR ALL USING (true)", true},
    {"CREATE POLICY p ON " T " FOR ALL USING (true) WITH CHECK (topic <> 'x')", true},
};
#define N_POLICIES ((int)(sizeof policies / sizeof policies[0]))

START_TEST(row_security_that_hides_rows_is_told_and_not_obeyed)
{
    struct outbox_err err;
    struct outbox_batch *batch;
    make_role();
    execute("ALTER TABLE " T " ENABLE ROW LEVEL SECURITY");
    execute("%s", policies[_i].policy);
    produce(2);
    struct store *s = instance_of_role();
    assert_class(check(s, &err), policies[_i].passes ? OUTBOX_OK : OUTBOX_E_CONFIG, &err);
    if (policies[_i].passes) {
        batch = claim(s, 10, LEASE_MS);
        ck_assert_uint_eq(batch->n, 2);
        ck_assert_uint_eq(settle_all(s, batch, DONE), 0);
        release(s, batch);
    } else {
        assert_says(&err, "row security hides rows");
        assert_class(try_claim(s, a_claim(1), within(5000), &batch, &err), OUTBOX_E_CONFIG, &err);
        assert_says(&err, "BYPASSRLS");
        execute("ALTER ROLE %s BYPASSRLS", the_schema());
        assert_class(check(s, &err), OUTBOX_OK, &err);
    }
    drop_role(s);
}
END_TEST

/* It is looked at when the relay connects; later the server says so itself. */
START_TEST(row_security_that_begins_later_is_an_error_too)
{
    struct outbox_err err;
    struct outbox_batch *batch;
    make_role();
    produce(2);
    struct store *s = instance_of_role();
    release(s, claim(s, 1, LEASE_MS));
    execute("ALTER TABLE " T " ENABLE ROW LEVEL SECURITY");
    assert_class(try_claim(s, a_claim(1), within(5000), &batch, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "row-level security");
    drop_role(s);
}
END_TEST

/* ---- what is only a warning ---- */

START_TEST(what_does_not_stop_the_relay_is_a_warning)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    use_mode(MODE_LOCKS_POOLED);
    use_option("table", the_schema()); /* it is in public */
    struct store *s = instance_as("one", NULL);
    assert_class(store_init(s, CALL, &done, &err), OUTBOX_OK, &err);
    execute("INSERT INTO public.%s (topic, status) VALUES ('t', 'PENDING')", the_schema());
    assert_class(check(s, &err), OUTBOX_OK, &err);
    ck_assert_int_eq(times_logged("has the status 'PENDING'"), 1);
    ck_assert_int_eq(times_logged("write table = public."), 1);
    store_close(s);
    execute("DROP TABLE public.%s, public.%s_leases, public.%s_relays, public.%s_schema",
            the_schema(), the_schema(), the_schema(), the_schema());
}
END_TEST

/* ---- waking ---- */

static struct store *instance_that_listens(const char *notify_conninfo)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    use_option("notify", "on");
    use_option("notify_conninfo", notify_conninfo);
    struct store *s = an_instance();
    assert_class(store_init(s, CALL, &done, &err), OUTBOX_OK, &err);
    return s;
}

START_TEST(a_notify_conninfo_that_cannot_work_is_told)
{
    struct outbox_err err;
    char elsewhere[300];
    assert_class(check(instance_that_listens(getenv("OUTBOX_TEST_PG")), &err), OUTBOX_OK, &err);
    assert_class(check(instance_that_listens("host=127.0.0.1 port=1"), &err), OUTBOX_E_RETRY, &err);
    assert_says(&err, "notify: ");
    assert_says(&err, "127.0.0.1:1");
    assert_class(check(instance_that_listens(pooled_conninfo()), &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "pooler");
    /* another database that has such a table, too */
    snprintf(elsewhere, sizeof elsewhere, "%s dbname=%s", getenv("OUTBOX_TEST_PG"), the_schema());
    execute("SET client_min_messages = warning");
    execute("DROP DATABASE IF EXISTS %s", the_schema());
    execute("CREATE DATABASE %s", the_schema());
    PGconn *db = PQconnectdb(elsewhere);
    char sql[100];
    snprintf(sql, sizeof sql, "CREATE SCHEMA %s", the_schema());
    run_pg(db, sql);
    PQfinish(db);
    use_option("conninfo", elsewhere);
    struct store *there = instance_that_listens(elsewhere);
    store_close(there);
    use_option("conninfo", getenv("OUTBOX_TEST_PG"));
    struct store *s = instance_that_listens(elsewhere);
    assert_class(check(s, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "another database");
    store_close(s);
    execute("DROP DATABASE %s WITH (FORCE)", the_schema());
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    unit_needs("OUTBOX_TEST_PGBOUNCER");
    Suite *suite = suite_create("store-postgres: check");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "check");
    tcase_add_loop_test(tc, what_was_dropped_is_told_and_made_again, 0,
                        sizeof harms / sizeof harms[0]);
    tcase_add_test(tc, a_published_table_that_cannot_be_updated_is_told);
    tcase_add_test(tc, a_name_in_another_case_is_pointed_to);
    tcase_add_test(tc, a_table_that_was_renamed_is_not_to_be_made_anew_without_a_thought);
    tcase_add_test(tc, a_table_is_kept_to_when_the_search_path_changes);
    tcase_add_loop_test(tc, each_privilege_that_is_missing_is_named, 0, N_RIGHTS);
    tcase_add_test(tc, who_may_only_look_is_not_kept_from_it);
    tcase_add_test(tc, init_by_the_relays_role_is_to_be_run_by_the_owner);
    tcase_add_loop_test(tc, row_security_that_hides_rows_is_told_and_not_obeyed, 0, N_POLICIES);
    tcase_add_test(tc, row_security_that_begins_later_is_an_error_too);
    tcase_add_test(tc, what_does_not_stop_the_relay_is_a_warning);
    tcase_add_test(tc, a_notify_conninfo_that_cannot_work_is_told);
    return unit_main(suite);
}
