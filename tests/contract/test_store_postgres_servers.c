/* SPDX-License-Identifier: Apache-2.0 */
/* Servers that crash, come back, become read-only, or are replaced by their standby. The program
 * has servers of its own. */
#include "own_servers.h"
#include "postgres_rig.h"
#include "unit.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH 20

static PGconn *connect_to(const char *port_variable)
{
    char conninfo[200];
    snprintf(conninfo, sizeof conninfo,
             "host=127.0.0.1 port=%s user=outbox password=outbox dbname=outbox",
             getenv(port_variable));
    PGconn *db = PQconnectdb(conninfo);
    ck_assert_msg(PQstatus(db) == CONNECTION_OK, "%s", PQerrorMessage(db));
    return db;
}

/* On that server. */
static int64_t ask(const char *port_variable, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static int64_t ask(const char *port_variable, const char *fmt, ...)
{
    PGconn *db = connect_to(port_variable);
    char *sql = NULL;
    va_list ap;
    va_start(ap, fmt);
    ck_assert_int_ge(vasprintf(&sql, fmt, ap), 0);
    va_end(ap);
    int64_t n = store_kind()->number(db, sql);
    free(sql);
    PQfinish(db);
    return n;
}

#define PRIMARY "OUTBOX_TEST_PG_PORT"
#define STANDBY "OUTBOX_TEST_PG_STANDBY_PORT"

/* As after a crash of the machine. */
static void crash(void)
{
    own_servers("kill", "postgres");
}

static void recover(void)
{
    own_servers("start", "postgres");
}

/* ---- crashes ---- */

/* The application's connection does not survive either. */
static void connect_anew(struct store **s, const char *more)
{
    close_all();
    open_again();
    *s = instance_as("one", more);
}

START_TEST(a_server_that_crashed_while_a_batch_was_held_costs_nothing)
{
    struct outbox_err err;
    struct store *s;
    use_mode(_i);
    s = instance_as("one", NULL);
    produce(4);
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    crash();
    ck_assert_int_lt(try_settle(s, batch, FAILED_CHARGED, within(500), NULL, &err), 0);
    recover();
    ck_assert_uint_eq(settle_at_last(s, batch, FAILED_CHARGED, NULL), 0);
    release(s, batch);
    connect_anew(&s, NULL);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'failed' AND retries = 1"),
                     4);
}
END_TEST

struct relay {
    struct store *store;
    pthread_t thread;
    uint64_t settled, stale;
};

/* Relays until nothing came for a second. */
static void *relay(void *arg)
{
    struct relay *w = arg;
    struct outbox_err err;
    struct outbox_batch *batch;
    for (int64_t last = now_ms(); now_ms() - last < 1000;) {
        if (try_claim(w->store, a_claim(BATCH), within(5000), &batch, &err) < 0) {
            ck_assert_int_ne(err.code, OUTBOX_E_BROKEN);
            last = now_ms();
            sleep_ms(20);
            continue;
        }
        if (batch->n > 0) {
            w->stale += settle_at_last(w->store, batch, DONE, NULL);
            w->settled += batch->n;
            last = now_ms();
        }
        store_release(w->store, batch, CALL, &err);
    }
    return NULL;
}

START_TEST(relays_go_on_by_themselves_after_a_crash)
{
    struct relay relays[2] = {{0}};
    struct store *s;
    use_mode(_i);
    execute("INSERT INTO " T " (topic) SELECT 't' FROM generate_series(1, 20000)");
    for (int i = 0; i < 2; i++) {
        relays[i].store = instance_as("one", NULL);
        pthread_create(&relays[i].thread, NULL, relay, &relays[i]);
    }
    ck_assert(soon("SELECT count(*) >= 1000 FROM " T " WHERE status = 'processed'"));
    int64_t before = number("SELECT count(*) FROM " T " WHERE status = 'processed'");
    crash();
    sleep_ms(200);
    recover();
    for (int i = 0; i < 2; i++)
        pthread_join(relays[i].thread, NULL);
    ck_assert_int_lt(before, 20000);
    connect_anew(&s, NULL);
    /* A claim of leases whose answer was lost is given back; no message is left. */
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), 20000);
    /* The crash ends the locks of both, so each may have had a batch of the other's. Leases outlast
     * it. */
    uint64_t settled = relays[0].settled + relays[1].settled;
    uint64_t again = mode_is_leases(_i) ? 0 : 2 * BATCH;
    ck_assert_uint_ge(settled, 20000);
    ck_assert_uint_le(settled, 20000 + again);
    ck_assert_uint_le(relays[0].stale + relays[1].stale, again);
}
END_TEST

/* ---- one of several hosts ---- */

START_TEST(a_server_that_becomes_read_only_is_waited_for)
{
    struct outbox_err err;
    struct outbox_batch *batch;
    struct store *s = instance_as("one", NULL);
    produce(1);
    release(s, claim(s, 10, LEASE_MS));
    execute("ALTER SYSTEM SET default_transaction_read_only = on");
    execute("SELECT pg_reload_conf()");
    ck_assert(soon("SELECT current_setting('default_transaction_read_only') = 'on'"));
    int r;
    while ((r = try_claim(s, a_claim(10), within(5000), &batch, &err)) == 0)
        release(s, batch); /* it has not heard of it yet */
    assert_class(r, OUTBOX_E_RETRY, &err);
    assert_says(&err, "read-only");
    assert_class(try_claim(s, a_claim(10), within(5000), &batch, &err), OUTBOX_E_RETRY, &err);
    assert_says(&err, "read-only");
    execute("SET default_transaction_read_only = off");
    execute("ALTER SYSTEM RESET default_transaction_read_only");
    execute("SELECT pg_reload_conf()");
    while (try_claim(s, a_claim(10), within(5000), &batch, &err) < 0)
        sleep_ms(20);
    ck_assert_uint_eq(batch->n, 1);
    release(s, batch);
}
END_TEST

static void await_replay(void)
{
    PGconn *db = connect_to(PRIMARY);
    char *lsn = store_kind()->bytes(db, "SELECT pg_current_wal_lsn()::text::bytea");
    PQfinish(db);
    while (!ask(STANDBY,
                "SELECT (pg_last_wal_replay_lsn() >= convert_from('\\x%s', 'UTF8')::pg_lsn)::int",
                lsn))
        sleep_ms(20);
    free(lsn);
}

/* The last case: after it there are two servers that know nothing of each other. */
START_TEST(the_standby_that_takes_over_is_followed)
{
    struct outbox_err err;
    struct outbox_batch *batch;
    char more[200];
    snprintf(more, sizeof more, "host=127.0.0.1,127.0.0.1 port=%s,%s", getenv(STANDBY),
             getenv(PRIMARY));
    own_servers("start", "standby");
    struct store *s = instance_as("one", more);
    produce(4);
    batch = claim(s, 2, LEASE_MS); /* the standby comes first, and cannot do it */
    ck_assert_uint_eq(batch->n, 2);
    await_replay();
    crash();
    ask(STANDBY, "SELECT pg_promote()::int");
    ck_assert_uint_eq(settle_at_last(s, batch, DONE, NULL), 0);
    release(s, batch);
    ck_assert_int_eq(
        ask(STANDBY, "SELECT count(*) FROM %s." T " WHERE status = 'processed'", the_schema()), 2);
    /* The old one comes back, is found first by another, and steps down. */
    recover();
    snprintf(more, sizeof more, "host=127.0.0.1,127.0.0.1 port=%s,%s", getenv(PRIMARY),
             getenv(STANDBY));
    struct store *other = instance_as("two", more);
    while (try_claim(other, a_claim(10), within(5000), &batch, &err) < 0)
        sleep_ms(20);
    ck_assert_uint_eq(batch->n, 4);
    release(other, batch);
    PGconn *db = connect_to(PRIMARY);
    run_pg(db, "ALTER SYSTEM SET default_transaction_read_only = on");
    run_pg(db, "SELECT pg_reload_conf()");
    for (uint32_t n = 4; n == 4; release(other, batch)) {
        while (try_claim(other, a_claim(10), within(5000), &batch, &err) < 0)
            assert_says(&err, "read-only");
        n = batch->n;
    }
    ck_assert_uint_eq(batch->n, 2); /* what is left on the new one */
    run_pg(db, "SET default_transaction_read_only = off");
    run_pg(db, "ALTER SYSTEM RESET default_transaction_read_only");
    run_pg(db, "SELECT pg_reload_conf()");
    PQfinish(db);
    close_all();
    sleep_ms(200);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    own_servers_start("postgres");
    Suite *suite = suite_create("store-postgres: servers");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "servers");
    tcase_add_loop_test(tc, a_server_that_crashed_while_a_batch_was_held_costs_nothing, 0,
                        MODES_DIRECT);
    tcase_add_loop_test(tc, relays_go_on_by_themselves_after_a_crash, 0, MODES_DIRECT);
    tcase_add_test(tc, a_server_that_becomes_read_only_is_waited_for);
    tcase_add_test(tc, the_standby_that_takes_over_is_followed);
    return unit_main(suite);
}
