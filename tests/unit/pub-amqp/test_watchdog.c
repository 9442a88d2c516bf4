/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp's watchdog: a write that nobody reads ends when the call's time is over, not before. */
#include "connection/monotonic.h"
#include "connection/watchdog.h"
#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a busy machine may add. */
#define LATE_US 10000000

static struct watchdog w;
static int pair[2];

static void set_up(void)
{
    watchdog_init(&w);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
}

static void tear_down(void)
{
    watchdog_destroy(&w);
    close(pair[0]);
    close(pair[1]);
}

static bool is_shut(void)
{
    struct pollfd fd = {.fd = pair[0], .events = POLLIN};
    return poll(&fd, 1, 0) > 0;
}

/* Waits until it is shut, at most twenty seconds; what time it is then. */
static int64_t shut_at(void)
{
    struct pollfd fd = {.fd = pair[0], .events = POLLIN};
    poll(&fd, 1, 20000);
    return now_us();
}

START_TEST(it_fires_when_the_time_is_over)
{
    int64_t deadline = now_us() + 200000;
    ck_assert_int_eq(watchdog_arm(&w, deadline, -1, 0), 0);
    watchdog_watch(&w, pair[0]);
    ck_assert_int_ge(shut_at(), deadline);
    ck_assert(is_shut());
    ck_assert(watchdog_has_fired(&w));
    char text[70000] = "";
    ck_assert_int_lt(send(pair[0], text, sizeof text, MSG_NOSIGNAL), 0);
}
END_TEST

START_TEST(it_is_quiet_when_disarmed)
{
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(watchdog_arm(&w, now_us() + 500000, -1, 0), 0);
        watchdog_watch(&w, pair[0]);
        watchdog_disarm(&w);
    }
    poll(NULL, 0, 600);
    ck_assert(!is_shut());
    ck_assert(!watchdog_has_fired(&w));
}
END_TEST

START_TEST(a_later_deadline_after_an_earlier_one_counts)
{
    ck_assert_int_eq(watchdog_arm(&w, now_us() + 500000, -1, 0), 0);
    watchdog_watch(&w, pair[0]);
    watchdog_disarm(&w);
    int64_t deadline = now_us() + 1000000;
    ck_assert_int_eq(watchdog_arm(&w, deadline, -1, 0), 0);
    ck_assert_int_ge(shut_at(), deadline);
    watchdog_disarm(&w);
}
END_TEST

START_TEST(an_earlier_deadline_after_a_later_one_counts)
{
    ck_assert_int_eq(watchdog_arm(&w, now_us() + 60000000, -1, 0), 0);
    watchdog_watch(&w, pair[0]);
    poll(NULL, 0, 50); /* it sleeps by now */
    watchdog_disarm(&w);
    int64_t deadline = now_us() + 100000;
    ck_assert_int_eq(watchdog_arm(&w, deadline, -1, 0), 0);
    ck_assert_int_lt(shut_at(), deadline + LATE_US);
}
END_TEST

START_TEST(cancelling_leaves_the_grace)
{
    uint64_t one = 1;
    int cancel = eventfd(0, EFD_CLOEXEC);
    ck_assert_int_eq(watchdog_arm(&w, now_us() + 60000000, cancel, 300000), 0);
    watchdog_watch(&w, pair[0]);
    poll(NULL, 0, 50);
    ck_assert(!is_shut());
    int64_t deadline = now_us() + 300000;
    ck_assert_int_eq(write(cancel, &one, sizeof one), sizeof one);
    int64_t shut = shut_at();
    ck_assert_int_ge(shut, deadline);
    ck_assert_int_lt(shut, deadline + LATE_US);
    watchdog_disarm(&w);
    close(cancel);
}
END_TEST

START_TEST(it_waits_for_a_socket_to_watch)
{
    ck_assert_int_eq(watchdog_arm(&w, now_us(), -1, 0), 0);
    poll(NULL, 0, 50);
    ck_assert(!watchdog_has_fired(&w));
    int64_t now = now_us();
    watchdog_watch(&w, pair[0]);
    ck_assert_int_lt(shut_at(), now + LATE_US);
    ck_assert(is_shut());
    watchdog_watch(&w, -1);
    watchdog_disarm(&w);
}
END_TEST

START_TEST(without_being_armed_there_is_no_thread)
{
    watchdog_watch(&w, pair[0]);
    watchdog_disarm(&w);
    ck_assert(!w.started);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("amqp watchdog");
    TCase *tc = tcase_create("amqp watchdog");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, it_fires_when_the_time_is_over);
    tcase_add_test(tc, it_is_quiet_when_disarmed);
    tcase_add_test(tc, a_later_deadline_after_an_earlier_one_counts);
    tcase_add_test(tc, an_earlier_deadline_after_a_later_one_counts);
    tcase_add_test(tc, cancelling_leaves_the_grace);
    tcase_add_test(tc, it_waits_for_a_socket_to_watch);
    tcase_add_test(tc, without_being_armed_there_is_no_thread);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
