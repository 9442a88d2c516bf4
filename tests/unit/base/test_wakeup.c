/* SPDX-License-Identifier: Apache-2.0 */
/* Where idle workers wait: signals, due times for all, and a time of one's own. */
#include "base/clock.h"
#include "base/wakeup.h"
#include "unit.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SOON_US 20000
#define LONG_US 30000000

static struct wakeup wakeup;

static void set_up(void)
{
    wakeup_init(&wakeup, 600000);
}

static void tear_down(void)
{
    wakeup_destroy(&wakeup);
}

static int64_t now(void)
{
    return clock_monotonic_us();
}

/* Until so many others wait. */
static void await_waiting(unsigned n)
{
    for (bool enough = false; !enough; poll(NULL, 0, 1)) {
        pthread_mutex_lock(&wakeup.lock);
        enough = wakeup.waiting == n;
        pthread_mutex_unlock(&wakeup.lock);
    }
}

static void *wait_long(void *arg)
{
    (void)arg;
    wakeup_wait(&wakeup, INT64_MAX, INT64_MAX);
    return NULL;
}

static pthread_t start_waiter(void)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_long, NULL), 0);
    return thread;
}

START_TEST(a_signal_before_the_wait_is_not_lost_and_counts_once)
{
    wakeup_signal(&wakeup);
    wakeup_signal(&wakeup);
    wakeup_wait(&wakeup, INT64_MAX, INT64_MAX);
    int64_t began = now();
    wakeup_wait(&wakeup, INT64_MAX, began + SOON_US);
    ck_assert_int_ge(now(), began + SOON_US);
}
END_TEST

START_TEST(a_signal_wakes_one_of_many)
{
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        threads[i] = start_waiter();
    await_waiting(3);
    wakeup_signal(&wakeup);
    await_waiting(2);
    wakeup_close(&wakeup);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
}
END_TEST

START_TEST(a_due_time_ends_the_wait_and_so_does_an_own_one)
{
    int64_t began = now();
    wakeup_wait(&wakeup, began + SOON_US, INT64_MAX);
    ck_assert_int_ge(now(), began + SOON_US);
    began = now();
    wakeup_wait(&wakeup, INT64_MAX, began + SOON_US);
    ck_assert_int_ge(now(), began + SOON_US);
}
END_TEST

/* Whoever brings the time does not have to be the one who takes it. */
START_TEST(an_earlier_due_time_is_taken_by_one_waiter_only)
{
    pthread_t thread = start_waiter();
    await_waiting(1);
    wakeup_wait(&wakeup, now() + SOON_US, now() + LONG_US);
    wakeup_signal(&wakeup); /* the thread has taken the time, or takes this */
    pthread_join(thread, NULL);
    ck_assert_int_gt(wakeup.due_us, now() + LONG_US); /* a poll interval later */
}
END_TEST

START_TEST(without_any_time_the_next_poll_ends_the_wait)
{
    wakeup.poll_us = SOON_US;
    int64_t began = now();
    wakeup_wait(&wakeup, INT64_MAX, INT64_MAX);
    ck_assert_int_ge(now(), began + SOON_US);
    began = now();
    wakeup_wait(&wakeup, began + LONG_US, INT64_MAX);
    ck_assert_int_lt(now(), began + LONG_US);
}
END_TEST

START_TEST(closed_nobody_waits)
{
    pthread_t thread = start_waiter();
    await_waiting(1);
    wakeup_close(&wakeup);
    pthread_join(thread, NULL);
    wakeup_wait(&wakeup, INT64_MAX, INT64_MAX);
    ck_assert(wakeup_await_idle(&wakeup, INT64_MAX));
}
END_TEST

START_TEST(idle_workers_are_waited_for)
{
    int64_t began = now();
    ck_assert(!wakeup_await_idle(&wakeup, began + SOON_US));
    ck_assert_int_ge(now(), began + SOON_US);
    pthread_t thread = start_waiter();
    ck_assert(wakeup_await_idle(&wakeup, INT64_MAX));
    wakeup_close(&wakeup);
    pthread_join(thread, NULL);
}
END_TEST

static void *poll_long(void *arg)
{
    struct pollfd fds[2] = {{.fd = -1}, {.fd = *(int *)arg, .events = POLLIN}};
    bool news = wakeup_poll(&wakeup, INT64_MAX, INT64_MAX, fds, 2);
    return news ? &wakeup : NULL;
}

static pthread_t start_poller(int *fd)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, poll_long, fd), 0);
    return thread;
}

START_TEST(one_that_polls_is_woken_by_its_descriptor_or_as_the_others)
{
    void *news;
    int fd = eventfd(0, EFD_CLOEXEC), quiet = eventfd(0, EFD_CLOEXEC);
    pthread_t thread = start_poller(&fd), others[2] = {start_poller(&quiet), start_waiter()};
    await_waiting(3);
    eventfd_write(fd, 1);
    pthread_join(thread, &news);
    ck_assert_ptr_null(news);
    wakeup_signal(&wakeup);
    await_waiting(1);
    wakeup_signal(&wakeup);
    await_waiting(0);
    pthread_join(others[0], &news);
    ck_assert_ptr_nonnull(news);
    pthread_join(others[1], NULL);
    thread = start_poller(&quiet); /* what woke it is forgotten */
    await_waiting(1);
    poll(NULL, 0, 50);
    await_waiting(1);
    wakeup_close(&wakeup);
    pthread_join(thread, NULL);
    close(fd);
    close(quiet);
}
END_TEST

START_TEST(one_that_polls_wakes_at_its_time_and_at_that_of_another)
{
    struct pollfd fds[1];
    int64_t began = now();
    ck_assert(!wakeup_poll(&wakeup, INT64_MAX, began + SOON_US, fds, 1));
    ck_assert_int_ge(now(), began + SOON_US);
    int quiet = eventfd(0, EFD_CLOEXEC);
    pthread_t thread = start_poller(&quiet);
    await_waiting(1);
    began = now();
    wakeup_wait(&wakeup, began + LONG_US / 100, began); /* leaves its due time to the other */
    pthread_join(thread, NULL);
    ck_assert_int_lt(now(), began + LONG_US);
    close(quiet);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wakeup");
    TCase *tc = tcase_create("wakeup");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_signal_before_the_wait_is_not_lost_and_counts_once);
    tcase_add_test(tc, a_signal_wakes_one_of_many);
    tcase_add_test(tc, a_due_time_ends_the_wait_and_so_does_an_own_one);
    tcase_add_test(tc, an_earlier_due_time_is_taken_by_one_waiter_only);
    tcase_add_test(tc, without_any_time_the_next_poll_ends_the_wait);
    tcase_add_test(tc, closed_nobody_waits);
    tcase_add_test(tc, idle_workers_are_waited_for);
    tcase_add_test(tc, one_that_polls_is_woken_by_its_descriptor_or_as_the_others);
    tcase_add_test(tc, one_that_polls_wakes_at_its_time_and_at_that_of_another);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
