/* SPDX-License-Identifier: Apache-2.0 */
/* A relay in an application: it starts, stops and counts, whatever signals come. */
#include "base/clock.h"
#include "embedding.h"
#include "unit.h"

#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/time.h>
#include <unistd.h>

/* A relay with one message under way. */
static struct outbox_relay *a_busy_relay(int wait_ms, int64_t shutdown_timeout_ms)
{
    app_publisher.wait_ms = wait_ms;
    app_send(0);
    struct outbox_relay *relay = app_relay(
        (struct outbox_relay_options){.workers = 1, .shutdown_timeout_ms = shutdown_timeout_ms});
    app_ok(outbox_relay_start(relay, &app_err));
    while (app_publisher.calls == 0)
        usleep(1000);
    return relay;
}

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
    struct outbox_relay *relay = a_busy_relay(300, 0);
    begin_signals();
    app_ok(outbox_relay_stop(relay, 60000, &app_err));
    ck_assert_uint_eq(app_counts(relay).accepted, 1);
    end_signals();
    outbox_relay_free(relay);
}
END_TEST

START_TEST(a_signal_does_not_free_what_threads_still_use)
{
    struct outbox_relay *relay = a_busy_relay(300, 0);
    begin_signals();
    outbox_relay_free(relay);
    end_signals();
    ck_assert_int_eq(app_publisher.returned, 1);
}
END_TEST

START_TEST(a_stop_that_took_too_long_may_be_called_again)
{
    struct outbox_relay *relay = a_busy_relay(500, 0);
    ck_assert_int_eq(outbox_relay_stop(relay, 10, &app_err), OUTBOX_E_TIMEOUT);
    app_ok(outbox_relay_stop(relay, 60000, &app_err));
    app_ok(outbox_relay_stop(relay, 0, &app_err)); /* it has stopped */
    ck_assert_uint_eq(app_counts(relay).accepted, 1);
    outbox_relay_free(relay);
}
END_TEST

/* Settling is tried until shutdown_timeout is over, counted from the first call. */
START_TEST(asking_often_does_not_put_off_the_end)
{
    struct outbox_relay *relay = a_busy_relay(500, 1000);
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(app_path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 30000);
    ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    int64_t end = clock_monotonic_us() + INT64_C(25000000); /* the default is 30 s */
    while (outbox_relay_stop(relay, 20, &app_err) == OUTBOX_E_TIMEOUT)
        ck_assert_int_lt(clock_monotonic_us(), end);
    sqlite3_close(db);
    outbox_relay_free(relay);
}
END_TEST

START_TEST(a_relay_may_be_started_again)
{
    app_send(0);
    struct outbox_relay *relay = app_relay((struct outbox_relay_options){.poll_interval_ms = 50});
    for (uint64_t round = 1; round <= 2; round++) {
        app_ok(outbox_relay_start(relay, &app_err));
        app_refused(outbox_relay_start(relay, &app_err), "runs already");
        while (app_counts(relay).accepted < round)
            usleep(1000);
        app_ok(outbox_relay_stop(relay, 60000, &app_err));
        app_send(0);
    }
    outbox_relay_free(relay);
}
END_TEST

struct counting {
    const struct outbox_relay *relay;
    _Atomic bool done;
};

static void *count_on(void *arg)
{
    struct counting *counting = arg;
    uint64_t most = 0;
    while (!counting->done) {
        uint64_t n = app_counts(counting->relay).accepted;
        ck_assert_uint_ge(n, most);
        most = n;
    }
    return (void *)(uintptr_t)most;
}

/* A thread that shows figures does not know when the relay is stopped. */
START_TEST(counting_goes_on_while_it_is_started_and_stopped)
{
    struct counting counting = {.done = false};
    pthread_t counter;
    void *most;
    struct outbox_relay *relay = app_relay((struct outbox_relay_options){.poll_interval_ms = 50});
    counting.relay = relay;
    ck_assert_int_eq(pthread_create(&counter, NULL, count_on, &counting), 0);
    for (uint64_t round = 1; round <= 5; round++) {
        app_send(0);
        app_ok(outbox_relay_start(relay, &app_err));
        while (app_counts(relay).accepted < round)
            usleep(1000);
        app_ok(outbox_relay_stop(relay, 60000, &app_err));
    }
    counting.done = true;
    ck_assert_int_eq(pthread_join(counter, &most), 0);
    ck_assert_uint_le((uintptr_t)most, 5);
    outbox_relay_free(relay);
}
END_TEST

START_TEST(a_callback_cannot_stop_its_own_relay)
{
    struct outbox_relay *relay = a_busy_relay(300, 0);
    app_publisher.stops = relay;
    while (app_publisher.returned == 0)
        usleep(1000);
    ck_assert_int_eq(app_publisher.stop_result, OUTBOX_E_CONFIG);
    outbox_relay_free(relay);
    ck_assert_int_eq(app_publisher.returned, 1);
}
END_TEST

/* It would wait for itself: for ever, and in silence. */
START_TEST(a_callback_that_frees_its_own_relay_ends_the_process)
{
    app_publisher.frees = true;
    app_publisher.stops = a_busy_relay(300, 0);
    for (;;)
        pause();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("liboutbox");
    TCase *tc = tcase_create("liboutbox");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, app_set_up, app_tear_down);
    tcase_add_test(tc, a_signal_does_not_cut_a_stop_short);
    tcase_add_test(tc, a_signal_does_not_free_what_threads_still_use);
    tcase_add_test(tc, a_stop_that_took_too_long_may_be_called_again);
    tcase_add_test(tc, asking_often_does_not_put_off_the_end);
    tcase_add_test(tc, a_relay_may_be_started_again);
    tcase_add_test(tc, counting_goes_on_while_it_is_started_and_stopped);
    tcase_add_test(tc, a_callback_cannot_stop_its_own_relay);
    tcase_add_test_raise_signal(tc, a_callback_that_frees_its_own_relay_ends_the_process, SIGABRT);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
