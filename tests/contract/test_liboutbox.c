/* SPDX-License-Identifier: Apache-2.0 */
/* liboutbox as an application uses it, with mistakes, signals and time-outs. */
#include "clock.h"
#include "liboutbox.h"
#include "unit.h"

#include <outbox/helpers.h>
#include <outbox/save-sqlite.h>

#include <ftw.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

static char dir[64], path[96];
static struct outbox_err err;

/* What the publisher does: it says how often it was called, and takes its time. */
static struct publisher {
    _Atomic int calls;
    _Atomic int returned;
    _Atomic int wait_ms;
    _Atomic bool *done;
} publisher;

static int deliver(void *ctx, const struct outbox_message *const *messages, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *why)
{
    struct publisher *p = ctx;
    (void)messages;
    (void)call;
    (void)why;
    p->calls++;
    for (int64_t end = clock_monotonic_us() + p->wait_ms * 1000; clock_monotonic_us() < end;)
        usleep(1000);
    for (uint64_t i = 0; i < n; i++)
        outcomes[i]->verdict = OUTBOX_ACCEPTED;
    p->returned++;
    return OUTBOX_OK;
}

static const char *plugin_dir(void)
{
    return getenv("OUTBOX_TEST_PLUGIN_DIR");
}

static void ok(int r)
{
    ck_assert_msg(r == OUTBOX_OK, "%d: %s", r, err.text);
}

static void refused(int r, const char *why)
{
    ck_assert_int_eq(r, OUTBOX_E_CONFIG);
    ck_assert_msg(strstr(err.text, why) != NULL, "it says: %s", err.text);
}

static struct outbox_setting settings[] = {{"path", path}, {NULL, NULL}};

static void send_one(void)
{
    struct outbox_store *store;
    struct outbox_new message = {.size = sizeof message, .topic = outbox_cstr("t")};
    const struct outbox_new *const messages[] = {&message};
    ok(outbox_store_open(plugin_dir(), "sqlite", settings, &store, &err));
    ok(outbox_store_init(store, 30000, &err));
    ok(outbox_save(store, messages, 1, NULL, 30000, &err));
    outbox_store_close(store);
}

static struct outbox_relay *a_relay(struct outbox_relay_options options)
{
    struct outbox_relay *relay;
    struct outbox_router *router = outbox_router_new();
    options.size = sizeof options;
    ok(outbox_router_set_fallback(router, "here"));
    ok(outbox_relay_new(&options, &relay, &err));
    ok(outbox_relay_set_store(relay, plugin_dir(), "sqlite", settings, &err));
    ok(outbox_relay_add_function(relay, "here", deliver, &publisher, &err));
    ok(outbox_relay_set_router(relay, router, &err));
    outbox_router_free(router);
    return relay;
}

/* A relay with one message under way. */
static struct outbox_relay *a_busy_relay(int wait_ms)
{
    publisher.wait_ms = wait_ms;
    send_one();
    struct outbox_relay *relay = a_relay((struct outbox_relay_options){.workers = 1});
    ok(outbox_relay_start(relay, &err));
    while (publisher.calls == 0)
        usleep(1000);
    return relay;
}

static struct outbox_relay_counts counts_of(const struct outbox_relay *relay)
{
    struct outbox_relay_counts counts = {.size = sizeof counts};
    outbox_relay_count(relay, &counts);
    return counts;
}

/* ---- stopping ---- */

static void on_signal(int number)
{
    (void)number;
}

/* Applications have timers and children; their signals interrupt a wait. */
static void begin_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART */
    const struct itimerval often = {{0, 3000}, {0, 3000}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
}

static void end_signals(void)
{
    const struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
}

START_TEST(a_signal_does_not_cut_a_stop_short)
{
    struct outbox_relay *relay = a_busy_relay(300);
    begin_signals();
    ok(outbox_relay_stop(relay, 60000, &err));
    ck_assert_uint_eq(counts_of(relay).accepted, 1);
    end_signals();
    outbox_relay_free(relay);
}
END_TEST

START_TEST(a_signal_does_not_free_what_threads_still_use)
{
    struct outbox_relay *relay = a_busy_relay(300);
    begin_signals();
    outbox_relay_free(relay);
    end_signals();
    ck_assert_int_eq(publisher.returned, 1);
}
END_TEST

START_TEST(a_stop_that_took_too_long_may_be_called_again)
{
    struct outbox_relay *relay = a_busy_relay(500);
    ck_assert_int_eq(outbox_relay_stop(relay, 10, &err), OUTBOX_E_TIMEOUT);
    ok(outbox_relay_stop(relay, 60000, &err));
    ok(outbox_relay_stop(relay, 0, &err)); /* it has stopped */
    ck_assert_uint_eq(counts_of(relay).accepted, 1);
    outbox_relay_free(relay);
}
END_TEST

/* Settling is tried until shutdown_timeout is over, counted from the first call. */
START_TEST(asking_often_does_not_put_off_the_end)
{
    struct outbox_relay *relay = a_busy_relay(500);
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 30000);
    ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    relay->config->shutdown_timeout_ms = 1000;
    int64_t end = clock_monotonic_us() + INT64_C(60000000);
    while (outbox_relay_stop(relay, 20, &err) == OUTBOX_E_TIMEOUT)
        ck_assert_int_lt(clock_monotonic_us(), end);
    sqlite3_close(db);
    outbox_relay_free(relay);
}
END_TEST

START_TEST(a_relay_may_be_started_again)
{
    send_one();
    struct outbox_relay *relay = a_relay((struct outbox_relay_options){.poll_interval_ms = 50});
    for (uint64_t round = 1; round <= 2; round++) {
        ok(outbox_relay_start(relay, &err));
        refused(outbox_relay_start(relay, &err), "runs already");
        while (counts_of(relay).accepted < round)
            usleep(1000);
        ok(outbox_relay_stop(relay, 60000, &err));
        send_one();
    }
    outbox_relay_free(relay);
}
END_TEST

static void *count_on(void *arg)
{
    _Atomic bool *done = publisher.done;
    uint64_t most = 0;
    while (!*done) {
        uint64_t n = counts_of(arg).accepted;
        ck_assert_uint_ge(n, most);
        most = n;
    }
    return (void *)(uintptr_t)most;
}

/* A thread that shows figures does not know when the relay is stopped. */
START_TEST(counting_goes_on_while_it_is_started_and_stopped)
{
    _Atomic bool done = false;
    pthread_t counter;
    void *most;
    publisher.done = &done;
    struct outbox_relay *relay = a_relay((struct outbox_relay_options){.poll_interval_ms = 50});
    ck_assert_int_eq(pthread_create(&counter, NULL, count_on, relay), 0);
    for (uint64_t round = 1; round <= 5; round++) {
        send_one();
        ok(outbox_relay_start(relay, &err));
        while (counts_of(relay).accepted < round)
            usleep(1000);
        ok(outbox_relay_stop(relay, 60000, &err));
    }
    done = true;
    ck_assert_int_eq(pthread_join(counter, &most), 0);
    ck_assert_uint_le((uintptr_t)most, 5);
    outbox_relay_free(relay);
}
END_TEST

/* ---- mistakes ---- */

static const char *misspelt(void *ctx, const struct outbox_message *message)
{
    (void)ctx;
    (void)message;
    return "heer";
}

START_TEST(a_function_that_names_no_publisher_keeps_the_message)
{
    struct outbox_router *router = outbox_router_new();
    struct outbox_relay *relay;
    sqlite3 *db;
    int held = 0;
    send_one();
    ok(outbox_router_add_function(router, misspelt, NULL));
    ok(outbox_router_set_fallback(router, "here"));
    ok(outbox_relay_new(NULL, &relay, &err));
    ok(outbox_relay_set_store(relay, plugin_dir(), "sqlite", settings, &err));
    ok(outbox_relay_add_function(relay, "here", deliver, &publisher, &err));
    ok(outbox_relay_set_router(relay, router, &err));
    outbox_router_free(router);
    ok(outbox_relay_start(relay, &err));
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 30000);
    for (int64_t end = clock_monotonic_us() + 60000000; !held; usleep(10000)) {
        sqlite3_stmt *statement;
        ck_assert_int_lt(clock_monotonic_us(), end);
        ck_assert_int_eq(publisher.calls, 0);
        ck_assert_int_eq(sqlite3_prepare_v2(db,
                                            "SELECT 1 FROM outbox_messages WHERE status = 'pending'"
                                            " AND last_error LIKE '%named a publisher%'",
                                            -1, &statement, NULL),
                         SQLITE_OK);
        held = sqlite3_step(statement) == SQLITE_ROW;
        sqlite3_finalize(statement);
    }
    sqlite3_close(db);
    outbox_relay_free(relay);
}
END_TEST

START_TEST(options_that_make_no_sense_are_refused)
{
    static const struct outbox_relay_options bad[] = {
        {.workers = 65},
        {.batch_size = 100001},
        {.max_retries = 1000001},
        {.batch_timeout_ms = OUTBOX_NEVER},
        {.batch_timeout_ms = 9},
        {.lease_ms = 999},
        {.lease_ms = OUTBOX_NEVER},
        {.poll_interval_ms = OUTBOX_NEVER},
        {.retry_min_ms = OUTBOX_NEVER, .retry_max_ms = OUTBOX_NEVER},
        {.retry_max_ms = OUTBOX_NEVER},
        {.retry_min_ms = 300001},
        {.batch_timeout_ms = -1},
        {.retention_ms = -2},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct outbox_relay_options options = bad[i];
        struct outbox_relay *relay = NULL;
        options.size = sizeof options;
        ck_assert_msg(outbox_relay_new(&options, &relay, &err) == OUTBOX_E_CONFIG, "row %zu", i);
        ck_assert_uint_gt(strlen(err.text), 10);
    }
}
END_TEST

START_TEST(the_order_of_the_calls_is_told)
{
    struct outbox_relay *relay;
    struct outbox_router *router = outbox_router_new();
    ok(outbox_relay_new(NULL, &relay, &err));
    refused(outbox_relay_start(relay, &err), "needs a store, a publisher and a router");
    refused(outbox_relay_add_publisher(relay, "here", "exec", NULL, &err),
            "the store comes before");
    refused(outbox_relay_set_store(relay, plugin_dir(), "sqlite", NULL, &err), "`path`");
    refused(outbox_relay_set_store(relay, plugin_dir(), "nothing", settings, &err), "no store");
    ok(outbox_relay_set_store(relay, plugin_dir(), "sqlite", settings, &err));
    refused(outbox_relay_set_store(relay, plugin_dir(), "sqlite", settings, &err), "already");
    refused(outbox_relay_add_function(relay, "No Name", deliver, NULL, &err), "cannot be");
    ok(outbox_relay_add_function(relay, "here", deliver, &publisher, &err));
    refused(outbox_relay_add_function(relay, "here", deliver, NULL, &err), "already");
    ok(outbox_router_set_fallback(router, "nowhere"));
    refused(outbox_relay_set_router(relay, router, &err), "`nowhere`");
    ok(outbox_router_set_fallback(router, "here"));
    ok(outbox_relay_set_router(relay, router, &err));
    refused(outbox_relay_set_router(relay, router, &err), "already");
    refused(outbox_relay_add_function(relay, "late", deliver, NULL, &err), "before the router");
    outbox_router_free(router);
    outbox_relay_free(relay);
}
END_TEST

START_TEST(secrets_come_from_files_and_are_not_shown)
{
    char file[128];
    const struct outbox_setting from_file[] = {{"conninfo_file", file}, {NULL, NULL}};
    const struct outbox_setting bad[] = {{"conninfo", "host=x password=hush${"}, {NULL, NULL}};
    struct outbox_store *store;
    snprintf(file, sizeof file, "%s/conninfo", dir);
    refused(outbox_store_open(plugin_dir(), "postgres", from_file, &store, &err), "cannot read");
    FILE *f = fopen(file, "w");
    fputs("host=nowhere.invalid password=hush${\n", f);
    fclose(f);
    chmod(file, 0644);
    refused(outbox_store_open(plugin_dir(), "postgres", from_file, &store, &err),
            "others can read");
    chmod(file, 0600);
    ok(outbox_store_open(plugin_dir(), "postgres", from_file, &store, &err));
    outbox_store_close(store);
    refused(outbox_store_open(plugin_dir(), "postgres", bad, &store, &err), "conninfo: a `${`");
    ck_assert_ptr_null(strstr(err.text, "hush"));
}
END_TEST

START_TEST(a_publishers_own_timeout_must_fit_its_batch)
{
    const struct outbox_setting exec[] = {
        {"command", "/bin/true"}, {"timeout", "15s"}, {NULL, NULL}};
    struct outbox_relay *relay;
    ok(outbox_relay_new(NULL, &relay, &err));
    ok(outbox_relay_set_store(relay, plugin_dir(), "sqlite", settings, &err));
    refused(outbox_relay_add_publisher(relay, "a", "exec", exec, &err), "batch_timeout");
    outbox_relay_free(relay);
}
END_TEST

/* ---- */

static int remove_one(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(name);
}

static void set_up(void)
{
    snprintf(dir, sizeof dir, "/tmp/outbox-lib-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/shop.db", dir);
    err = (struct outbox_err){.size = sizeof err};
}

static void tear_down(void)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    Suite *suite = suite_create("liboutbox");
    TCase *tc = tcase_create("liboutbox");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_signal_does_not_cut_a_stop_short);
    tcase_add_test(tc, a_signal_does_not_free_what_threads_still_use);
    tcase_add_test(tc, a_stop_that_took_too_long_may_be_called_again);
    tcase_add_test(tc, asking_often_does_not_put_off_the_end);
    tcase_add_test(tc, a_relay_may_be_started_again);
    tcase_add_test(tc, counting_goes_on_while_it_is_started_and_stopped);
    tcase_add_test(tc, a_function_that_names_no_publisher_keeps_the_message);
    tcase_add_test(tc, options_that_make_no_sense_are_refused);
    tcase_add_test(tc, the_order_of_the_calls_is_told);
    tcase_add_test(tc, secrets_come_from_files_and_are_not_shown);
    tcase_add_test(tc, a_publishers_own_timeout_must_fit_its_batch);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
