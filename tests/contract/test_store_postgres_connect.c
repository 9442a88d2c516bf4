/* SPDX-License-Identifier: Apache-2.0 */
/* Servers that refuse, are not there, or never answer: what is said, to whom it is left to act, and
 * how long it takes. No password is ever shown. */
#include "postgres_rig.h"
#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECRET "hunter2-is-secret"

static int check_with(const char *conninfo, struct outbox_err *err)
{
    struct outbox_call call = within(30000);
    use_option("conninfo", conninfo);
    *err = (struct outbox_err){.size = sizeof *err};
    int r = store_check(an_instance(), &call, err);
    ck_assert_msg(!strstr(err->text, SECRET), "%s", err->text);
    return r;
}

static int check_with_more(const char *more, struct outbox_err *err)
{
    char conninfo[512];
    snprintf(conninfo, sizeof conninfo, "%s %s", getenv("OUTBOX_TEST_PG"), more);
    return check_with(conninfo, err);
}

/* ---- refusals ---- */

START_TEST(a_refused_login_says_what_to_check_and_shows_no_password)
{
    struct outbox_err err;
    assert_class(check_with_more("password=" SECRET, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "check user and password");
    assert_says(&err, "28P01");
    assert_says(&err, "\"outbox\"");
    assert_class(check_with_more("user=nobody-there password=" SECRET, &err), OUTBOX_E_CONFIG,
                 &err);
    use_option("password", SECRET);
    assert_class(check_with_more("", &err), OUTBOX_E_CONFIG, &err);
    use_option("password", "outbox"); /* it counts, not that of conninfo */
    assert_class(check_with_more("password=" SECRET, &err), OUTBOX_OK, &err);
}
END_TEST

START_TEST(a_login_without_a_password_says_so)
{
    struct outbox_err err;
    char conninfo[200];
    snprintf(conninfo, sizeof conninfo,
             "host=127.0.0.1 port=%s user=outbox dbname=outbox passfile=/nowhere/at/all",
             getenv("OUTBOX_TEST_PG_PORT"));
    unsetenv("PGPASSWORD");
    assert_class(check_with(conninfo, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "wants a password");
}
END_TEST

START_TEST(an_unknown_database_is_named)
{
    struct outbox_err err;
    assert_class(check_with_more("dbname=no_such_shop", &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "no_such_shop");
    assert_says(&err, "create the database");
    /* Of several hosts the one that answered counts. */
    char more[200];
    snprintf(more, sizeof more, "host=127.0.0.1,127.0.0.1 port=1,%s dbname=no_such_shop",
             getenv("OUTBOX_TEST_PG_PORT"));
    assert_class(check_with_more(more, &err), OUTBOX_E_CONFIG, &err);
}
END_TEST

/* A server that comes back must be found again, so all but the first refusal is remembered. */
START_TEST(a_refusal_is_told_again_and_ends_when_its_reason_does)
{
    struct outbox_err err = {.size = sizeof err};
    char conninfo[300];
    execute("SET client_min_messages = warning");
    execute("DROP ROLE IF EXISTS %s", the_schema());
    execute("CREATE ROLE %s LOGIN SUPERUSER PASSWORD 'one'", the_schema());
    snprintf(conninfo, sizeof conninfo, "host=127.0.0.1 port=%s user=%s dbname=outbox password=two",
             getenv("OUTBOX_TEST_PG_PORT"), the_schema());
    use_option("conninfo", conninfo);
    struct store *s = an_instance();
    for (int i = 0; i < 3; i++) {
        assert_class(store_check(s, CALL, &err), OUTBOX_E_CONFIG, &err);
        assert_says(&err, "28P01");
    }
    execute("ALTER ROLE %s PASSWORD 'two'", the_schema());
    assert_class(store_check(s, CALL, &err), OUTBOX_OK, &err);
    store_close(s);
    execute("DROP ROLE %s", the_schema());
}
END_TEST

START_TEST(what_is_no_connection_string_is_refused_when_opened_and_not_shown)
{
    static const char *const bad[] = {
        "password=" SECRET " host",       "host=localhost password='" SECRET,
        "postgresql://u:" SECRET "@[::1", "postgresql://u:" SECRET "@h/db?nonsense=1",
        "nonsense=1 password=" SECRET,    SECRET,
    };
    struct outbox_err err;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        use_option("conninfo", bad[i]);
        assert_class(try_instance(&err), OUTBOX_E_CONFIG, &err);
        assert_says(&err, "conninfo");
        ck_assert_msg(!strstr(err.text, SECRET), "%s", err.text);
    }
    use_option("conninfo", getenv("OUTBOX_TEST_PG"));
    use_option("notify_conninfo", bad[0]);
    assert_class(try_instance(&err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "notify_conninfo");
}
END_TEST

START_TEST(what_libpq_cannot_use_is_a_mistake_of_the_configuration)
{
    struct outbox_err err;
    assert_class(check_with("service=no-such-service", &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "no-such-service");
    assert_class(check_with_more("sslmode=sometimes", &err), OUTBOX_E_CONFIG, &err);
    assert_class(check_with_more("port=seven", &err), OUTBOX_E_CONFIG, &err);
    assert_class(check_with_more("host=a,b port=1,2,3", &err), OUTBOX_E_CONFIG, &err);
}
END_TEST

START_TEST(servers_that_are_not_there_are_waited_for)
{
    struct outbox_err err;
    assert_class(check_with("host=127.0.0.1 port=1 password=" SECRET, &err), OUTBOX_E_RETRY, &err);
    assert_says(&err, "127.0.0.1:1");
    assert_class(check_with("host=/nowhere password=" SECRET, &err), OUTBOX_E_RETRY, &err);
    assert_class(check_with("host=no-such-host.invalid connect_timeout=2", &err), OUTBOX_E_RETRY,
                 &err);
    assert_says(&err, "no-such-host.invalid");
}
END_TEST

/* ---- tables ---- */

START_TEST(a_missing_table_a_newer_one_and_no_table_say_what_to_do)
{
    struct outbox_err err;
    struct outbox_batch *batch;
    execute("UPDATE " T "_schema SET version = 7");
    assert_class(check_with_more("", &err), OUTBOX_OK, &err); /* it only added */
    execute("UPDATE " T "_schema SET needs = 7");
    assert_class(check_with_more("", &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "newer outboxd");
    assert_says(&err, "schema 7");
    assert_class(try_claim(an_instance(), a_claim(1), within(5000), &batch, &err), OUTBOX_E_CONFIG,
                 &err);
    struct outbox_str done;
    assert_class(store_init(an_instance(), CALL, &done, &err), OUTBOX_E_CONFIG, &err);
    execute("UPDATE " T "_schema SET version = 1, needs = 1");
    use_option("table", "no_schema.there");
    assert_class(check_with_more("", &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "no_schema.there");
    assert_says(&err, "outboxd init");
    assert_class(store_init(an_instance(), CALL, &done, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "no_schema");
}
END_TEST

START_TEST(a_table_that_goes_away_is_missed_and_found_again)
{
    struct outbox_err err;
    struct outbox_batch *batch;
    struct outbox_str done;
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    release(s, claim(s, 10, LEASE_MS));
    execute("SET client_min_messages = warning");
    execute("DROP TABLE " T ", " T "_leases, " T "_relays, " T "_schema");
    for (int i = 0; i < 2; i++) {
        assert_class(try_claim(s, a_claim(1), within(5000), &batch, &err), OUTBOX_E_CONFIG, &err);
        assert_says(&err, "outboxd init");
    }
    assert_class(store_init(the_store(), CALL, &done, &err), OUTBOX_OK, &err);
    produce(1);
    batch = claim(s, 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 1);
    release(s, batch);
}
END_TEST

START_TEST(a_missing_privilege_is_named)
{
    struct outbox_err err = {.size = sizeof err};
    char more[200];
    execute("SET client_min_messages = warning");
    execute("DROP ROLE IF EXISTS %s", the_schema());
    execute("CREATE ROLE %s LOGIN PASSWORD 'one'", the_schema());
    snprintf(more, sizeof more, "user=%s password=one", the_schema());
    assert_class(check_with_more(more, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "outboxd-store-postgres(7)");
    execute("GRANT USAGE ON SCHEMA %s TO %s", the_schema(), the_schema());
    assert_class(check_with_more(more, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, T "_schema");
    execute("GRANT SELECT ON " T "_schema, " T "_leases TO %s", the_schema());
    struct outbox_batch *batch;
    assert_class(try_claim(an_instance(), a_claim(1), within(5000), &batch, &err), OUTBOX_E_CONFIG,
                 &err);
    assert_says(&err, "permission denied for table " T " ");
    execute("DROP OWNED BY %s", the_schema());
    execute("DROP ROLE %s", the_schema());
}
END_TEST

/* ---- hosts that say nothing ---- */

/* Accepts nothing more, or all and never answers. */
static int silent_port(bool full)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    ck_assert_int_eq(listen(fd, full ? 0 : 16), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &n), 0);
    for (int i = 0; full && i < 4; i++) {
        int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(client, (struct sockaddr *)&addr, sizeof addr);
    }
    return ntohs(addr.sin_port);
}

static void *make_readable(void *fd)
{
    sleep_ms(200);
    eventfd_write(*(int *)fd, 1);
    return NULL;
}

/* An instance whose host says nothing. 0: it never answers, 1: it does not even accept; 2: the
 * server itself, behind a line that fell silent. */
static struct store *against_silence(int how, struct forward *f)
{
    char more[80];
    /* For longer than closing may take: it does not wait for that. */
    snprintf(more, sizeof more, "connect_timeout=60 port=%d",
             how == 2 ? forward_port(f) : silent_port(how == 1));
    struct store *s = instance_as("one", more);
    if (how == 2) {
        release(s, claim(s, 10, LEASE_MS));
        forward_stall(f, true);
    }
    return s;
}

START_TEST(a_host_that_says_nothing_costs_the_deadline_and_no_more)
{
    struct outbox_err err;
    struct outbox_batch *batch;
    struct forward *f = a_forwarder(MODE_LOCKS);
    struct store *s = against_silence(_i, f);
    int64_t begun = now_ms();
    assert_class(try_claim(s, a_claim(1), within(400), &batch, &err), OUTBOX_E_TIMEOUT, &err);
    ck_assert_int_ge(now_ms() - begun, 390);
    ck_assert_int_lt(now_ms() - begun, 10000);
    begun = now_ms();
    store_close(s);
    ck_assert_int_lt(now_ms() - begun, 10000);
    forward_stop(f);
}
END_TEST

START_TEST(a_host_that_says_nothing_can_be_left_at_any_time)
{
    struct outbox_err err;
    struct outbox_batch *batch;
    struct forward *f = a_forwarder(MODE_LOCKS);
    struct outbox_call call = within(60000);
    pthread_t thread;
    struct store *s = against_silence(_i, f);
    call.cancel_fd = eventfd(0, EFD_CLOEXEC);
    int64_t begun = now_ms();
    pthread_create(&thread, NULL, make_readable, &call.cancel_fd);
    assert_class(try_claim(s, a_claim(1), call, &batch, &err), OUTBOX_E_CANCELLED, &err);
    ck_assert_int_ge(now_ms() - begun, 190);
    ck_assert_int_lt(now_ms() - begun, 20000);
    pthread_join(thread, NULL);
    begun = now_ms();
    store_close(s);
    ck_assert_int_lt(now_ms() - begun, 10000);
    forward_stop(f);
}
END_TEST

START_TEST(a_held_batch_does_not_keep_an_instance_from_closing)
{
    use_mode(_i);
    struct forward *f = a_forwarder(_i);
    struct store *s = instance_through(f, "one");
    produce(3);
    ck_assert_uint_eq(claim(s, 10, LEASE_MS)->n, 3);
    forward_stall(f, true);
    int64_t begun = now_ms();
    store_close(s);
    ck_assert_int_lt(now_ms() - begun, 15000);
    forward_stop(f);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    unit_needs("OUTBOX_TEST_PGBOUNCER");
    setenv("RES_OPTIONS", "timeout:1 attempts:2", 1); /* where no name server answers */
    Suite *suite = suite_create("store-postgres: connect");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "connect");
    tcase_add_test(tc, a_refused_login_says_what_to_check_and_shows_no_password);
    tcase_add_test(tc, a_login_without_a_password_says_so);
    tcase_add_test(tc, an_unknown_database_is_named);
    tcase_add_test(tc, a_refusal_is_told_again_and_ends_when_its_reason_does);
    tcase_add_test(tc, what_is_no_connection_string_is_refused_when_opened_and_not_shown);
    tcase_add_test(tc, what_libpq_cannot_use_is_a_mistake_of_the_configuration);
    tcase_add_test(tc, servers_that_are_not_there_are_waited_for);
    tcase_add_test(tc, a_missing_table_a_newer_one_and_no_table_say_what_to_do);
    tcase_add_loop_test(tc, a_table_that_goes_away_is_missed_and_found_again, 0, N_MODES);
    tcase_add_test(tc, a_missing_privilege_is_named);
    tcase_add_loop_test(tc, a_host_that_says_nothing_costs_the_deadline_and_no_more, 0, 3);
    tcase_add_loop_test(tc, a_host_that_says_nothing_can_be_left_at_any_time, 0, 3);
    tcase_add_loop_test(tc, a_held_batch_does_not_keep_an_instance_from_closing, 0, MODES_DIRECT);
    return unit_main(suite);
}
