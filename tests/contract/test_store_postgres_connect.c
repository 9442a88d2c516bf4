/* SPDX-License-Identifier: Apache-2.0 */
/* Servers that refuse, are not there, or never answer: what is said, to whom it is left to act, and
 * how long it takes. No password is ever shown. */
#include "postgres_rig.h"
#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
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

/* ---- secrets are read at each login ---- */

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    fclose(f);
    ck_assert_int_eq(chmod(path, 0600), 0);
}

static void make_role(const char *password)
{
    execute("SET client_min_messages = warning");
    execute("DROP ROLE IF EXISTS %s", the_schema());
    execute("CREATE ROLE %s LOGIN SUPERUSER PASSWORD '%s'", the_schema(), password);
}

/* Where the password is: its own file, one with the whole conninfo, a service, a pass file. */
enum place { OWN_FILE, CONNINFO_FILE, SERVICE, PASS_FILE, N_PLACES };

static char secret_path[128];

static void put_password(enum place place, const char *password)
{
    char text[400];
    const char *port = getenv("OUTBOX_TEST_PG_PORT");
    if (place == OWN_FILE)
        snprintf(text, sizeof text, "%s", password);
    else if (place == CONNINFO_FILE)
        snprintf(text, sizeof text, "host=127.0.0.1 port=%s user=%s dbname=outbox password=%s",
                 port, the_schema(), password);
    else if (place == SERVICE)
        snprintf(text, sizeof text,
                 "[shop]\nhost=127.0.0.1\nport=%s\nuser=%s\ndbname=outbox\npassword=%s\n", port,
                 the_schema(), password);
    else
        snprintf(text, sizeof text, "*:*:*:*:%s\n", password);
    write_file(secret_path, text);
}

static struct store *instance_with_secret(enum place place)
{
    struct outbox_err err = {.size = sizeof err};
    char conninfo[300];
    int r = OUTBOX_OK;
    snprintf(conninfo, sizeof conninfo, "host=127.0.0.1 port=%s user=%s dbname=outbox",
             getenv("OUTBOX_TEST_PG_PORT"), the_schema());
    use_option("conninfo", place == SERVICE ? "service=shop application_name=one" : conninfo);
    if (place == SERVICE)
        setenv("PGSERVICEFILE", secret_path, 1);
    else if (place == PASS_FILE)
        setenv("PGPASSFILE", secret_path, 1);
    else
        r = options_set_from_file(the_options(), place == OWN_FILE ? "password" : "conninfo",
                                  secret_path, &err);
    assert_class(r, OUTBOX_OK, &err);
    return an_instance();
}

START_TEST(a_password_that_was_changed_is_used_at_the_next_login)
{
    struct outbox_err err;
    enum place place = (enum place)_i;
    snprintf(secret_path, sizeof secret_path, "/tmp/%s.secret", the_schema());
    make_role("one");
    put_password(place, "one");
    struct store *s = instance_with_secret(place);
    err = (struct outbox_err){.size = sizeof err};
    assert_class(store_check(s, CALL, &err), OUTBOX_OK, &err);
    execute("ALTER ROLE %s PASSWORD 'two'", the_schema());
    execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '%s'",
            the_schema());
    while (number("SELECT count(*) FROM pg_stat_activity WHERE usename = '%s'", the_schema()) > 0)
        sleep_ms(5);
    assert_class(store_check(s, CALL, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "28P01");
    put_password(place, "two");
    assert_class(store_check(s, CALL, &err), OUTBOX_OK, &err);
    unlink(secret_path);
    store_close(s);
    execute("DROP ROLE %s", the_schema());
}
END_TEST

/* ---- limits, poolers and settings ---- */

START_TEST(a_limit_of_connections_says_which)
{
    struct outbox_err err;
    char more[200];
    make_role("one");
    execute("ALTER ROLE %s NOSUPERUSER CONNECTION LIMIT 0", the_schema());
    snprintf(more, sizeof more, "user=%s password=one", the_schema());
    assert_class(check_with_more(more, &err), OUTBOX_E_RETRY, &err);
    assert_says(&err, "53300");
    assert_says(&err, "lower `workers`");
    assert_says(&err, "CONNECTION LIMIT");
    execute("DROP ROLE %s", the_schema());
}
END_TEST

START_TEST(options_that_a_pooler_refuses_are_pointed_to)
{
    struct outbox_err err;
    char conninfo[400];
    snprintf(conninfo, sizeof conninfo, "%s options='-c search_path=public'", pooled_conninfo());
    ck_assert_int_lt(check_with(conninfo, &err), 0);
    assert_says(&err, "08P01");
    assert_says(&err, "`options`");
}
END_TEST

START_TEST(a_role_that_only_reads_by_its_settings_says_so)
{
    struct outbox_err err;
    char more[200];
    make_role("one");
    execute("ALTER ROLE %s SET default_transaction_read_only = on", the_schema());
    snprintf(more, sizeof more, "user=%s password=one", the_schema());
    assert_class(check_with_more(more, &err), OUTBOX_E_RETRY, &err);
    assert_says(&err, "default_transaction_read_only is on for");
    execute("DROP ROLE %s", the_schema());
}
END_TEST

/* ---- lines that fall silent ---- */

/* An option of this process's connection to the server; -1: there is none. */
static int socket_option(int level, int option)
{
    long port = strtol(getenv("OUTBOX_TEST_PG_PORT"), NULL, 10);
    int found = -1;
    for (int fd = 3; fd < 200; fd++) {
        struct sockaddr_in peer = {.sin_family = AF_UNSPEC};
        socklen_t n = sizeof peer, size = sizeof found;
        if (getpeername(fd, (struct sockaddr *)&peer, &n) == 0 && peer.sin_family == AF_INET &&
            ntohs(peer.sin_port) == port)
            ck_assert_int_eq(getsockopt(fd, level, option, &found, &size), 0);
    }
    return found;
}

START_TEST(a_silent_line_is_noticed_whatever_the_service_sets)
{
    struct outbox_err err = {.size = sizeof err};
    char text[300];
    snprintf(secret_path, sizeof secret_path, "/tmp/%s.service", the_schema());
    snprintf(text, sizeof text,
             "[shop]\nhost=127.0.0.1\nport=%s\nuser=outbox\npassword=outbox\ndbname=outbox\n%s",
             getenv("OUTBOX_TEST_PG_PORT"), _i ? "keepalives_idle=77\n" : "");
    write_file(secret_path, text);
    setenv("PGSERVICEFILE", secret_path, 1);
    use_option("conninfo", "service=shop");
    close_all();
    ck_assert_int_eq(socket_option(SOL_SOCKET, SO_KEEPALIVE), -1);
    assert_class(store_check(an_instance(), CALL, &err), OUTBOX_OK, &err);
    ck_assert_int_eq(socket_option(SOL_SOCKET, SO_KEEPALIVE), 1);
    ck_assert_int_eq(socket_option(IPPROTO_TCP, TCP_KEEPIDLE), _i ? 77 : 15);
    ck_assert_int_eq(socket_option(IPPROTO_TCP, TCP_USER_TIMEOUT), 30000);
    unlink(secret_path);
    close_all();
    use_option("conninfo", getenv("OUTBOX_TEST_PG"));
    open_again();
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
    tcase_add_loop_test(tc, a_password_that_was_changed_is_used_at_the_next_login, 0, N_PLACES);
    tcase_add_test(tc, a_limit_of_connections_says_which);
    tcase_add_test(tc, options_that_a_pooler_refuses_are_pointed_to);
    tcase_add_test(tc, a_role_that_only_reads_by_its_settings_says_so);
    tcase_add_loop_test(tc, a_silent_line_is_noticed_whatever_the_service_sets, 0, 2);
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
