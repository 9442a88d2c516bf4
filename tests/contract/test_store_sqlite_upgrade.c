/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of the Go package `outbox` (enverbisevac/libs v0.9.1), upgraded in place. */
#include "sqlite_kind.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define T "outbox_messages"

/* What that package runs, word for word. */
#define GO_TABLE                                                  \
    "CREATE TABLE IF NOT EXISTS outbox_messages (\n"              \
    "\tid TEXT PRIMARY KEY,\n\ttopic TEXT NOT NULL,\n"            \
    "\tkey TEXT NOT NULL DEFAULT '',\n\tpayload BLOB,\n"          \
    "\theaders TEXT NOT NULL DEFAULT '{}',\n"                     \
    "\tstatus TEXT NOT NULL DEFAULT 'pending',\n"                 \
    "\tretries INTEGER NOT NULL DEFAULT 0,\n"                     \
    "\tlast_error TEXT NOT NULL DEFAULT '',\n"                    \
    "\tcreated_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,\n" \
    "\tprocessed_at DATETIME\n);\n\n"                             \
    "CREATE INDEX IF NOT EXISTS idx_outbox_messages_pending\n"    \
    "\tON outbox_messages (created_at)\n\tWHERE status = 'pending';"
#define GO_INSERT \
    "INSERT INTO outbox_messages (id, topic, key, payload, headers) VALUES (?, ?, ?, ?, ?)"

/* One row as that package writes it: headers as a blob of JSON, `null` for none. */
static void go_save(sqlite3 *db, const char *id, const char *topic, const char *headers)
{
    sqlite3_stmt *q = NULL;
    ck_assert_int_eq(sqlite3_prepare_v2(db, GO_INSERT, -1, &q, NULL), SQLITE_OK);
    sqlite3_bind_text(q, 1, id, -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 2, topic, -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 3, "", 0, SQLITE_STATIC);
    sqlite3_bind_blob(q, 4, "p\0q", 3, SQLITE_STATIC);
    sqlite3_bind_blob(q, 5, headers, (int)strlen(headers), SQLITE_STATIC);
    ck_assert_msg(sqlite3_step(q) == SQLITE_DONE, "%s", sqlite3_errmsg(db));
    sqlite3_finalize(q);
}

static struct store *upgrade(const char *name)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done = {NULL, 0};
    use_path(the_options(), name);
    struct store *s = an_instance();
    assert_class(store_check(s, CALL, &err), OUTBOX_E_CONFIG, &err);
    ck_assert_ptr_nonnull(strstr(err.text, "outboxd init"));
    assert_class(store_init(s, CALL, &done, &err), OUTBOX_OK, &err);
    ck_assert_ptr_nonnull(strstr(done.p, "upgraded"));
    assert_class(store_check(s, CALL, &err), OUTBOX_OK, &err);
    return s;
}

static sqlite3 *go_table(void)
{
    sqlite3 *db = open_db("go.db");
    run_sql(db, GO_TABLE);
    return db;
}

START_TEST(rows_of_every_state_are_kept_as_they_were)
{
    sqlite3 *db = go_table();
    go_save(db, "a", "later", "null");
    go_save(db, "b", "sooner", "{\"destination\":\"jobs\"}");
    run_sql(db, "UPDATE " T " SET created_at = '2026-01-01 00:00:00' WHERE id = 'b'");
    run_sql(db, "INSERT INTO " T " (id, topic, payload, status, retries, last_error, created_at,"
                " processed_at) VALUES"
                " ('c', 't', NULL, 'processing', 2, 'e', '2026-01-01T00:00:01.5Z', NULL),"
                " ('d', 't', '', 'processed', 0, '', '2026-01-01 00:00:02', '2026-01-01 00:00:03'),"
                " ('e', 't', x'00', 'failed', 5, 'dead', '2026-01-01 00:00:02.000000000+00:00',"
                " NULL), (NULL, 'f', NULL, 'pending', 0, '', '2026-01-01 00:00:09', NULL)");
#define OLD_COLUMNS                                                                              \
    "SELECT coalesce(id, '') || quote(topic) || quote(key) || quote(payload) || quote(headers) " \
    "|| retries || last_error || quote(created_at) || quote(processed_at) || CASE status WHEN "  \
    "'processing' THEN 'pending' ELSE status END FROM " T                                        \
    " WHERE id IN ('a', 'b', 'c', 'd', 'e') ORDER BY id"
    char *before = all_lines(db, OLD_COLUMNS);
    struct store *s = upgrade("go.db");
    char *after = all_lines(db, OLD_COLUMNS);
    ck_assert_str_eq(before, after);
    char *order = all_lines(db, "SELECT topic || status FROM " T " ORDER BY seq");
    ck_assert_str_eq(order, "soonerpending\ntpending\ntprocessed\ntfailed\nfpending\n"
                            "laterpending\n");
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 4);
    assert_str(batch->messages[0]->id, "b");
    assert_str(batch->messages[0]->headers[0].value, "jobs");
    ck_assert_uint_eq(batch->messages[0]->payload.n, 3);
    ck_assert_int_eq(batch->messages[1]->created_us, INT64_C(1767225601500000));
    ck_assert_uint_eq(batch->messages[1]->retries, 2);
    ck_assert_uint_eq(batch->messages[2]->row_id.n, 36);
    ck_assert_uint_eq(batch->messages[3]->n_headers, 0);
    ck_assert_ptr_null(batch->messages[3]->defect.p);
    release(s, batch);
    free(before);
    free(after);
    free(order);
    sqlite3_close(db);
}
END_TEST

#define OURS                                                                                \
    "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name LIKE 'outbox_messages%' " \
    "ORDER BY name"

START_TEST(an_upgraded_table_is_like_a_new_one_and_like_the_printed_one)
{
    sqlite3 *db = go_table();
    upgrade("go.db");
    char *upgraded = all_lines(db, OURS), *created = all_lines(the_connection(), OURS);
    ck_assert_str_eq(upgraded, created);
    sqlite3_close(db);
    db = open_db("printed.db");
    struct outbox_exec exec = store_kind()->exec(db);
    struct outbox_err err = {.size = sizeof err};
    assert_class(store_schema(the_store(), &exec, &err), OUTBOX_OK, &err);
    char *printed = all_lines(db, OURS);
    ck_assert_str_eq(printed, created);
    ck_assert_int_eq(one_number(db, "SELECT needs FROM " T "_schema"),
                     number("SELECT needs FROM " T "_schema"));
    sqlite3_close(db);
    free(upgraded);
    free(created);
    free(printed);
}
END_TEST

START_TEST(what_others_added_to_the_table_stays)
{
    sqlite3 *db = go_table();
    run_sql(db,
            "ALTER TABLE " T " ADD COLUMN tenant TEXT NOT NULL DEFAULT 'it''s mine';"
            "ALTER TABLE " T " ADD COLUMN \"odd \"\"name\" INT;"
            "CREATE INDEX by_tenant ON " T " (tenant);"
            "CREATE TABLE log (id);"
            "CREATE TRIGGER logged AFTER INSERT ON " T " BEGIN INSERT INTO log VALUES (new.id);"
            " END;"
            "CREATE VIEW waiting AS SELECT id FROM " T " WHERE status = 'pending';"
            "INSERT INTO " T " (id, topic, tenant, \"odd \"\"name\") VALUES ('1', 't', 'x', 7)");
    upgrade("go.db");
    ck_assert_int_eq(one_number(db, "SELECT count(*) FROM " T " WHERE tenant = 'x'"
                                    " AND \"odd \"\"name\" = 7"),
                     1);
    ck_assert_int_eq(one_number(db, "SELECT count(*) FROM log"), 1); /* not for the copying */
    go_save(db, "2", "t", "null");
    ck_assert_int_eq(one_number(db, "SELECT count(*) FROM log"), 2);
    ck_assert_int_eq(one_number(db, "SELECT count(*) FROM waiting"), 2);
    ck_assert_int_eq(one_number(db, "SELECT count(*) FROM " T " WHERE tenant = 'it''s mine'"), 1);
    ck_assert_int_eq(one_number(db, "SELECT count(*) FROM sqlite_master WHERE name = 'by_tenant'"),
                     1);
    sqlite3_close(db);
}
END_TEST

START_TEST(what_cannot_be_built_anew_is_told_before_anything_changes)
{
    static const struct {
        const char *id;
        const char *added;
        const char *what; /* NULL: it can be */
    } cases[] = {
        {"TEXT PRIMARY KEY", ", n INT AS (length(payload)))", "the generated column n"},
        {"TEXT PRIMARY KEY", ", n INT AS (length(payload)) STORED)", "the generated column n"},
        {"TEXT PRIMARY KEY", ", x TEXT REFERENCES xs (id))", "the reference of column x"},
        {"TEXT PRIMARY KEY", ", x TEXT CHECK (x <> ''))", "a CHECK"},
        {"TEXT PRIMARY KEY", ", x TEXT /* checked */ check(x <> ''))", "a CHECK"},
        {"TEXT PRIMARY KEY", ", x TEXT, UNIQUE (topic, x))", "UNIQUE (topic, x)"},
        {"TEXT", ", x TEXT, PRIMARY KEY (x, id))", "the primary key column x"},
        {"TEXT", ", n INTEGER PRIMARY KEY AUTOINCREMENT)", "the primary key column n"},
        {"TEXT PRIMARY KEY ON CONFLICT IGNORE", ")", "an ON CONFLICT"},
        {"TEXT PRIMARY KEY", ") STRICT", NULL}, /* our columns take any value */
        {"TEXT PRIMARY KEY", ", x TEXT) STRICT", "STRICT"},
        {"TEXT PRIMARY KEY", ") WITHOUT ROWID", "no rowid"},
        {"TEXT COLLATE NOCASE PRIMARY KEY", ")", "a COLLATE of the column id"},
        {"TEXT PRIMARY KEY", ", \"CHECK\" TEXT DEFAULT 'it''s a CHECK' -- no CHECK\n)", NULL},
        {"TEXT", ", [check] TEXT, `CHECK ` TEXT /* CHECK */, conflict, strict INT, UNIQUE (id))",
         NULL},
        {"TEXT PRIMARY KEY", ", x TEXT COLLATE NOCASE)", NULL}, /* the last one; see below */
    };
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    const size_t n = sizeof cases / sizeof cases[0];
    char name[16], sql[1000];
    for (size_t i = 0; i < n; i++) {
        if (strstr(cases[i].added, "STRICT") && sqlite3_libversion_number() < 3037000)
            continue;
        snprintf(name, sizeof name, "%zu.db", i);
        sqlite3 *db = open_db(name);
        snprintf(sql, sizeof sql,
                 "CREATE TABLE " T " (id %s, topic TEXT, key TEXT, payload BLOB, headers TEXT,"
                 " status TEXT, retries INT, last_error TEXT, created_at TEXT, processed_at TEXT%s",
                 cases[i].id, cases[i].added);
        run_sql(db, sql);
        use_path(the_options(), name);
        struct store s = {0};
        assert_class(store_open(&s, the_store()->instance.plugin, the_options(), NULL, &err),
                     OUTBOX_OK, &err);
        assert_class(store_init(&s, CALL, &done, &err), cases[i].what ? OUTBOX_E_CONFIG : OUTBOX_OK,
                     &err);
        store_close(&s);
        if (cases[i].what) {
            ck_assert_msg(strstr(err.text, cases[i].what) != NULL, "%s", err.text);
            ck_assert_int_eq(one_number(db, "SELECT count(*) FROM sqlite_master"
                                            " WHERE name LIKE 'outbox%'"),
                             1);
        }
        sqlite3_close(db);
    }
    sqlite3 *db = open_db(name);
    run_sql(db, "INSERT INTO " T " (topic, x) VALUES ('t', 'Mine')");
    ck_assert_int_eq(one_number(db, "SELECT count(*) FROM " T " WHERE x = 'mine'"), 1);
    sqlite3_close(db);
}
END_TEST

static void produce_like_go(void)
{
    sqlite3 *db = open_db("go.db");
    for (int i = 0; i < 400; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", i);
        go_save(db, id, "t", "null");
    }
    sqlite3_close(db);
}

START_TEST(producers_keep_writing_through_an_upgrade)
{
    sqlite3 *db = go_table();
    run_sql(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
                " INSERT INTO " T " (id, topic) SELECT 'x' || i, 't' FROM n");
    sqlite3_close(db);
    pid_t pid = in_child(produce_like_go);
    go();
    sleep_ms(20);
    struct store *s = upgrade("go.db");
    await_child(pid);
    db = open_db("go.db");
    ck_assert_int_eq(one_number(db, "SELECT count(*) FROM " T " WHERE status = 'pending'"), 20400);
    run_sql(db, GO_TABLE); /* their next start */
    sqlite3_close(db);
    release(s, claim_soon(s));
}
END_TEST

static void init_once(void)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    use_path(the_options(), "new.db");
    if (store_init(an_instance(), CALL, &done, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        _Exit(1);
    }
}

START_TEST(several_may_init_at_once)
{
    enum { CROWD = 6 };
    pid_t pids[CROWD];
    for (int i = 0; i < CROWD; i++)
        pids[i] = in_child(init_once);
    for (int i = 0; i < CROWD; i++)
        go();
    for (int i = 0; i < CROWD; i++)
        await_child(pids[i]);
    sqlite3 *db = open_db("new.db");
    ck_assert_int_eq(one_number(db, "SELECT count(*) FROM " T "_schema"), 1);
    sqlite3_close(db);
}
END_TEST

START_TEST(a_table_that_is_no_outbox_is_left_alone)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    sqlite3 *db = open_db("other.db");
    run_sql(db, "CREATE TABLE " T " (id INTEGER PRIMARY KEY, topic TEXT)");
    use_path(the_options(), "other.db");
    assert_class(store_init(an_instance(), CALL, &done, &err), OUTBOX_E_CONFIG, &err);
    ck_assert_ptr_nonnull(strstr(err.text, "no column key"));
    ck_assert_int_eq(one_number(db, "SELECT count(*) FROM sqlite_master"), 1);
    sqlite3_close(db);
}
END_TEST

START_TEST(an_upgrade_that_does_not_get_its_time_changes_nothing)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    struct outbox_call call = within(1);
    sqlite3 *db = go_table();
    run_sql(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
                " INSERT INTO " T " (id, topic) SELECT 'x' || i, 't' FROM n");
    use_path(the_options(), "go.db");
    struct store *s = an_instance();
    assert_class(store_init(s, &call, &done, &err), OUTBOX_E_TIMEOUT, &err);
    ck_assert_int_eq(one_number(db, "SELECT count(*) FROM pragma_table_info('" T "')"), 10);
    ck_assert_int_eq(one_number(db, "SELECT count(*) FROM sqlite_master WHERE type = 'table'"), 1);
    assert_class(store_init(s, CALL, &done, &err), OUTBOX_OK, &err);
    ck_assert_int_eq(one_number(db, "SELECT count(*) FROM " T), 100000);
    sqlite3_close(db);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store-sqlite: upgrade");
    store_use(&sqlite_kind);
    TCase *tc = store_case(suite, "upgrade");
    tcase_add_test(tc, rows_of_every_state_are_kept_as_they_were);
    tcase_add_test(tc, an_upgraded_table_is_like_a_new_one_and_like_the_printed_one);
    tcase_add_test(tc, what_others_added_to_the_table_stays);
    tcase_add_test(tc, what_cannot_be_built_anew_is_told_before_anything_changes);
    tcase_add_test(tc, producers_keep_writing_through_an_upgrade);
    tcase_add_test(tc, several_may_init_at_once);
    tcase_add_test(tc, a_table_that_is_no_outbox_is_left_alone);
    tcase_add_test(tc, an_upgrade_that_does_not_get_its_time_changes_nothing);
    return unit_main(suite);
}
