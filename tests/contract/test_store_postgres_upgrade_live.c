/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the Go package `outbox` is upgraded while its producers and its relay go on, and
 * nobody waits for long. OUTBOX_TEST_UPGRADE_ROWS makes it larger. */
#include "go_table.h"
#include "postgres_rig.h"
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GO "go_messages"
#define CONTROL "control_messages"
#define ROWS_DEFAULT "100000"

struct beside {
    pthread_t thread;
    PGconn *db;
    const char *role; /* NULL: the tests' own */
    const char *table;
    atomic_bool ends;
    int64_t n, longest_ms;
};

static void *keep_inserting(void *arg)
{
    struct beside *p = arg;
    char sql[128];
    snprintf(sql, sizeof sql,
             "INSERT INTO %s (topic, payload, headers) VALUES ('new', 'p', 'null')", p->table);
    while (!p->ends) {
        int64_t begun = now_ms();
        run_pg(p->db, sql);
        int64_t took = now_ms() - begun;
        p->longest_ms = took > p->longest_ms ? took : p->longest_ms;
        p->n++;
        sleep_ms(1);
    }
    return NULL;
}

static void *keep_relaying(void *arg)
{
    struct beside *p = arg;
    while (!p->ends) {
        p->n += go_relay(p->db, GO_CLAIM(GO), GO_SETTLE(GO), NULL);
        sleep_ms(5);
    }
    return NULL;
}

static void begin_beside(struct beside *p, void *(*run)(void *))
{
    p->db = open_pg();
    if (p->role) {
        char sql[100];
        snprintf(sql, sizeof sql, "SET ROLE %s", p->role);
        run_pg(p->db, sql);
    }
    ck_assert_int_eq(pthread_create(&p->thread, NULL, run, p), 0);
}

static void end_beside(struct beside *p)
{
    p->ends = true;
    pthread_join(p->thread, NULL);
    PQfinish(p->db);
}

/* Beside the producer another does the same to a table that nobody upgrades: what the machine
 * itself takes. */
static void begin_producing(struct beside *producer, struct beside *control)
{
    execute(GO_TABLE(CONTROL));
    control->table = CONTROL;
    producer->table = GO;
    begin_beside(control, keep_inserting);
    begin_beside(producer, keep_inserting);
}

static void end_producing(struct beside *producer, struct beside *control)
{
    end_beside(producer);
    end_beside(control);
    printf("# figures: the longest insert took %lld ms, into another table %lld ms\n",
           (long long)producer->longest_ms, (long long)control->longest_ms);
    ck_assert_int_lt(producer->longest_ms, 1000 + 2 * control->longest_ms);
}

static void make_role(void)
{
    execute("SET client_min_messages = warning");
    execute("DROP ROLE IF EXISTS %s", the_schema());
    execute("CREATE ROLE %s", the_schema());
    execute("GRANT USAGE ON SCHEMA %s TO %s", the_schema(), the_schema());
    execute("GRANT INSERT ON " GO " TO %s", the_schema());
}

static void drop_role(void)
{
    execute("DROP OWNED BY %s", the_schema());
    execute("DROP ROLE %s", the_schema());
}

static struct store *go_store(void)
{
    char table[128];
    snprintf(table, sizeof table, "%s." GO, the_schema());
    use_option("table", table);
    return instance_as("one", NULL);
}

static void assert_in_order(int64_t rows)
{
    ck_assert_int_eq(number("SELECT count(*) FROM " GO), rows);
    ck_assert_int_eq(number("SELECT count(DISTINCT seq) FROM " GO " WHERE seq > 0"), rows);
    ck_assert_int_eq(number("SELECT count(*) FROM (SELECT created_at < lag(created_at) OVER"
                            " (ORDER BY seq) AS late FROM " GO " WHERE topic = 'old') x WHERE"
                            " late"),
                     0);
    ck_assert_int_eq(number("SELECT count(*) FROM " GO " WHERE topic = 'new' AND seq <= %lld",
                            (long long)number("SELECT max(seq) FROM " GO " WHERE topic = 'old'")),
                     0);
}

START_TEST(a_producer_that_may_only_insert_is_never_held_up_for_long)
{
    const char *wanted = getenv("OUTBOX_TEST_UPGRADE_ROWS");
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    struct beside producer = {.n = 0}, control = {.n = 0};
    int64_t rows = atoll(wanted ? wanted : ROWS_DEFAULT);
    execute(GO_TABLE(GO));
    execute(GO_ROWS(GO, "%lld"), (long long)rows);
    make_role();
    producer.role = the_schema();
    begin_producing(&producer, &control);
    sleep_ms(100);
    int64_t begun = now_ms();
    assert_class(store_init(go_store(), LONG_CALL, &done, &err), OUTBOX_OK, &err);
    int64_t took = now_ms() - begun;
    end_producing(&producer, &control);
    printf("# figures: upgrading %lld rows on PostgreSQL took %lld ms; a producer inserted %lld"
           " meanwhile, the longest insert took %lld ms\n",
           (long long)rows, (long long)took, (long long)producer.n, (long long)producer.longest_ms);
    /* Some of the new ones came before the column. */
    ck_assert_int_eq(number("SELECT count(DISTINCT seq) FROM " GO), rows + producer.n);
    drop_role();
}
END_TEST

START_TEST(a_long_transaction_in_the_way_holds_up_nobody_else)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    struct beside producer = {.n = 0}, control = {.n = 0};
    struct outbox_call call = within(1500);
    PGconn *slow = open_pg();
    execute(GO_TABLE(GO));
    execute(GO_ROWS(GO, "1000"));
    run_pg(slow, _i ? "BEGIN ISOLATION LEVEL REPEATABLE READ" : "BEGIN");
    run_pg(slow, _i ? "SELECT 1" : "INSERT INTO " GO " (topic) VALUES ('slow')");
    begin_producing(&producer, &control);
    /* Nothing is broken when it takes too long. */
    assert_class(store_init(go_store(), &call, &done, &err), OUTBOX_E_TIMEOUT, &err);
    run_pg(slow, "COMMIT");
    assert_class(store_init(go_store(), LONG_CALL, &done, &err), OUTBOX_OK, &err);
    end_producing(&producer, &control);
    assert_in_order(1000 + producer.n + (_i == 0));
    PQfinish(slow);
}
END_TEST

START_TEST(that_packages_relay_may_go_on_meanwhile)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    struct beside relay = {.n = 0}, producer = {.table = GO};
    execute(GO_TABLE(GO));
    execute(GO_ROWS(GO, "20000"));
    begin_beside(&relay, keep_relaying);
    begin_beside(&producer, keep_inserting);
    assert_class(store_init(go_store(), LONG_CALL, &done, &err), OUTBOX_OK, &err);
    end_beside(&producer);
    end_beside(&relay);
    ck_assert_int_gt(relay.n, 100);
    ck_assert_int_eq(number("SELECT count(*) FROM " GO " WHERE status = 'processed'"), relay.n);
    ck_assert_int_eq(number("SELECT count(*) FROM " GO " WHERE status IN ('processed',"
                            " 'pending')"),
                     20000 + producer.n);
    ck_assert_int_eq(number("SELECT count(DISTINCT seq) FROM " GO), 20000 + producer.n);
}
END_TEST

/* An index is built once no older snapshot of its database is left: those of other tests would be
 * waited for. */
static void of_the_database(const char *do_what, const char *how)
{
    PGconn *db = PQconnectdb(getenv("OUTBOX_TEST_PG"));
    char whole[128];
    snprintf(whole, sizeof whole, "%s DATABASE outbox_live_%ld%s", do_what, (long)getpid(), how);
    PGresult *result = PQexec(db, whole);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        printf("# %s: %s", whole, PQerrorMessage(db)); /* the cases fail then, too */
    PQclear(result);
    PQfinish(db);
}

int main(void)
{
    char own[320];
    char *elsewhere = strdup(unit_needs("OUTBOX_TEST_PG"));
    snprintf(own, sizeof own, "%s dbname=outbox_live_%ld", elsewhere, (long)getpid());
    of_the_database("CREATE", "");
    setenv("OUTBOX_TEST_PG", own, 1);
    Suite *suite = suite_create("store-postgres: upgrade while in use");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "upgrade");
    tcase_set_timeout(tc, 3600);
    tcase_add_test(tc, a_producer_that_may_only_insert_is_never_held_up_for_long);
    tcase_add_loop_test(tc, a_long_transaction_in_the_way_holds_up_nobody_else, 0, 2);
    tcase_add_test(tc, that_packages_relay_may_go_on_meanwhile);
    int result = unit_main(suite);
    setenv("OUTBOX_TEST_PG", elsewhere, 1);
    of_the_database("DROP", " WITH (FORCE)");
    free(elsewhere);
    return result;
}
