/* SPDX-License-Identifier: Apache-2.0 */
/* docs/postgres-roles.sql gives each role what it needs, and no more. */
#include "postgres_rig.h"
#include "unit.h"

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Names with what has to be quoted in them. */
static char owner[80], producer[80], relay[80], schema[80];

static void run_script(void)
{
    char script[512], set[4][100];
    const char *names[] = {owner, producer, relay, schema};
    static const char *const variables[] = {"owner", "producer", "relay", "schema"};
    for (int i = 0; i < 4; i++)
        snprintf(set[i], sizeof set[i], "%s=%s", variables[i], names[i]);
    snprintf(script, sizeof script, "%s/docs/postgres-roles.sql", getenv("OUTBOX_TEST_SRCDIR"));
    const char *argv[] = {"psql",     "-X", "-q",        "-v", set[0], "-v",
                          set[1],     "-v", set[2],      "-v", set[3], "-v",
                          "table=" T, "-o", "/dev/null", "-f", script, getenv("OUTBOX_TEST_PG"),
                          NULL};
    pid_t pid;
    int status = -1;
    ck_assert_int_eq(posix_spawnp(&pid, "psql", NULL, NULL, (char *const *)argv, environ), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}

static void set_password(const char *role)
{
    execute("ALTER ROLE \"%s\" PASSWORD 'secret'", role);
}

/* An instance as that role; `claim` and more as set before. */
static struct store *instance_of(const char *role)
{
    char more[200];
    snprintf(more, sizeof more, "user='%s' password=secret", role);
    return instance_as("one", more);
}

static PGconn *connection_of(const char *role)
{
    char conninfo[400];
    snprintf(conninfo, sizeof conninfo, "%s user='%s' password=secret", getenv("OUTBOX_TEST_PG"),
             role);
    PGconn *db = PQconnectdb(conninfo);
    ck_assert_msg(PQstatus(db) == CONNECTION_OK, "%s", PQerrorMessage(db));
    return db;
}

/* {t} of a statement is the table. */
static const char *refused_to_both[] = {
    "TRUNCATE {t}",
    "ALTER TABLE {t} ADD COLUMN x int",
    "ALTER TABLE {t} DISABLE TRIGGER ALL",
    "DROP TABLE {t}",
    "DROP TABLE {t_schema}",
    "CREATE INDEX ON {t} (topic)",
    "UPDATE {t_schema} SET version = 99",
    "DELETE FROM {t_schema}",
    "CREATE TABLE {t_mine} (x int)",
    "CREATE TRIGGER x AFTER INSERT ON {t} FOR EACH STATEMENT EXECUTE FUNCTION {t_notify}()",
    "DROP FUNCTION {t_notify}() CASCADE",
};
static const char *refused_to_producer[] = {
    "SELECT * FROM {t}",          "INSERT INTO {t} (topic) VALUES ('t') RETURNING seq",
    "UPDATE {t} SET topic = 'x'", "DELETE FROM {t}",
    "SELECT * FROM {t_relays}",   "INSERT INTO {t_leases} (lease, until) VALUES (1, now())",
    "SELECT * FROM {t_schema}",   "SELECT setval(pg_get_serial_sequence('{t}', 'seq'), 1)",
};

static void render(char *out, size_t cap, const char *sql)
{
    size_t n = 0;
    while (*sql && n + 200 < cap) {
        if (strncmp(sql, "{t", 2) == 0) {
            size_t suffix = strcspn(sql + 2, "}");
            n += (size_t)snprintf(out + n, cap - n, "\"%s\"." T "%.*s", schema, (int)suffix,
                                  sql + 2);
            sql += suffix + 3;
        } else {
            out[n++] = *sql++;
        }
    }
    out[n] = '\0';
}

static void assert_refused(PGconn *db, const char *const *statements, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char sql[1000];
        render(sql, sizeof sql, statements[i]);
        PGresult *result = PQexec(db, sql);
        const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        ck_assert_msg(state && strcmp(state, "42501") == 0, "%s: %s", sql,
                      state ? PQresultErrorMessage(result) : "it worked");
        PQclear(result);
    }
}

#define N(array) (sizeof(array) / sizeof *(array))

static void make_roles(void)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    char table[200];
    snprintf(schema, sizeof schema, "%s Roles", the_schema());
    snprintf(owner, sizeof owner, "%s Owner", the_schema());
    snprintf(producer, sizeof producer, "%s Producer", the_schema());
    snprintf(relay, sizeof relay, "%s Relay", the_schema());
    run_script();
    set_password(owner);
    set_password(producer);
    set_password(relay);
    snprintf(table, sizeof table, "\"%s\"." T, schema);
    use_option("table", table);
    use_option("notify", "on");
    assert_class(store_init(instance_of(owner), CALL, &done, &err), OUTBOX_OK, &err);
    run_script();
    run_script();
}

static void drop_roles(void)
{
    execute("SET client_min_messages = warning");
    execute("DROP SCHEMA \"%s\" CASCADE", schema);
    execute("DROP ROLE \"%s\", \"%s\", \"%s\"", owner, producer, relay);
}

START_TEST(roles_suffice_for_their_work_and_for_no_more)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    char insert[300];
    use_mode(_i);
    make_roles();
    PGconn *p = connection_of(producer);
    struct store *s = instance_of(relay);
    do_everything(s);
    assert_class(store_wait(s, CALL, &err), OUTBOX_OK, &err); /* connects first */
    while (store_wait(s, &(struct outbox_call){sizeof(struct outbox_call), 200, -1, 0}, &err) == 0)
        continue;
    render(insert, sizeof insert, "INSERT INTO {t} (topic, key, payload) VALUES ('t', 'k', 'p')");
    run_pg(p, insert);
    assert_class(store_wait(s, CALL, &err), OUTBOX_OK, &err);
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 1);
    terminate("one"); /* it may look after its own sessions */
    ck_assert_uint_eq(settle_at_last(s, batch, DONE, NULL), 0);
    release(s, batch);
    /* In a producer's transaction, as a program does it. */
    struct outbox_exec exec = store_kind()->exec(p);
    struct outbox_new row = {.size = sizeof row, .topic = str("t"), .payload = str("p")};
    const struct outbox_new *rows[] = {&row};
    assert_class(store_save(s, rows, 1, &exec, NULL, &err), OUTBOX_OK, &err);
    batch = claim(s, 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 1);
    release(s, batch);
    assert_class(store_init(s, CALL, &done, &err), OUTBOX_OK, &err); /* there is nothing to do */
    render(insert, sizeof insert, "SELECT setval(pg_get_serial_sequence('{t}', 'seq'), 1)");
    execute("%s", insert);
    assert_class(store_check(s, CALL, &err), OUTBOX_E_CONFIG, &err); /* it sees that */
    assert_says(&err, "behind the last row");
    assert_refused(p, refused_to_both, N(refused_to_both));
    assert_refused(p, refused_to_producer, N(refused_to_producer));
    PQfinish(p);
    p = connection_of(relay);
    assert_refused(p, refused_to_both, N(refused_to_both));
    PQfinish(p);
    store_close(s);
    drop_roles();
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    Suite *suite = suite_create("store-postgres: roles");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "roles");
    tcase_add_loop_test(tc, roles_suffice_for_their_work_and_for_no_more, 0, MODES_DIRECT);
    return unit_main(suite);
}
