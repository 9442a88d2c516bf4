/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: a broker that sends nothing, reads nothing, or has an alarm; every call ends in time.
 */
#include "fake_case.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

static struct fake second;

static void set_up(void)
{
    fake_set_up();
    second = (struct fake){0};
}

static void tear_down(void)
{
    fake_tear_down();
    if (second.port)
        fake_stop(&second);
}

/* As a host does, for a time and at least so often: one that was held up has the same occasions. */
static void keepalive_for(struct instance *instance, int64_t ms, int times)
{
    int64_t until = now_ms() + ms;
    for (int n = 0; now_ms() < until || n < times; n++) {
        int64_t again = keepalive(instance).again_ms, left = until - now_ms();
        poll(NULL, 0, (int)(left > 0 && (again <= 0 || left < again) ? left : again));
    }
}

static char *filled(size_t n)
{
    char *text = mine(malloc(n + 1), free);
    memset(text, 'x', n);
    text[n] = '\0';
    return text;
}

/* ---- deadlines ---- */

/* One connect_timeout of 300 ms has to be enough to notice it; the call would leave 10 s. */
static void assert_noticed(enum fake_silence silence, const char *why)
{
    fake.silence = silence;
    fake_start(&fake);
    struct instance *instance = a_publisher("connect_timeout", "300ms", NULL);
    struct batch *b = a_batch("m", 3, "x");
    int64_t began = now_ms();
    publish(instance, b, 20000, -1);
    ck_assert_int_lt(now_ms() - began, 300 + LATE_MS);
    ck_assert_int_ge(now_ms() - began, 290);
    assert_verdicts(b, OUTBOX_UNAVAILABLE);
    ck_assert_msg(strstr(reason(b, 0), why), "%s", reason(b, 0));
    close_publisher(instance);
}

START_TEST(connecting_to_a_silent_peer_ends_after_connect_timeout)
{
    assert_noticed(FAKE_SILENT_AT_ONCE, "no answer");
}
END_TEST

START_TEST(a_channel_that_does_not_open_is_given_up_after_connect_timeout)
{
    assert_noticed(FAKE_SILENT_AFTER_LOGIN, "cannot open a channel: no answer");
}
END_TEST

/* Where it falls silent, and how large what it should have taken is. */
static const struct {
    enum fake_silence silence;
    size_t payload;
    uint64_t n;
} silences[] = {
    {FAKE_SILENT_AT_ONCE, 1, 3},          {FAKE_SILENT_AFTER_LOGIN, 1, 3},
    {FAKE_SILENT_AFTER_PUBLISH, 1, 100},  {FAKE_DEAF_AFTER_CHANNEL, 1, 100},
    {FAKE_DEAF_AFTER_CHANNEL, 130000, 1}, {FAKE_DEAF_AFTER_CHANNEL, 64 << 20, 1},
    {FAKE_DEAF_AFTER_FIRST, 100000, 300}, {FAKE_DEAF_AFTER_FIRST, 130000, 300},
};

START_TEST(a_call_is_never_longer_than_its_time)
{
    fake.silence = silences[_i].silence;
    fake_start(&fake);
    struct instance *instance =
        a_publisher("connect_timeout", "60s", "confirm_timeout", "60s", NULL);
    struct batch *b = a_batch("m", silences[_i].n, filled(silences[_i].payload));
    for (int round = 0; round < 2; round++) {
        int64_t began = now_ms();
        ck_assert_int_lt(publish(instance, b, 1000, -1), 0);
        ck_assert_int_le(now_ms() - began, 1000 + LATE_MS);
        uint32_t last = b->outcomes[b->n - 1].verdict;
        ck_assert(last == OUTBOX_UNSET || last == OUTBOX_UNAVAILABLE);
    }
    struct outbox_call call = {sizeof call, 500, -1, 200};
    struct outbox_err err = {.size = sizeof err};
    int64_t began = now_ms();
    instance->plugin->ops.publisher.check(instance->self, &call, &err);
    ck_assert_int_le(now_ms() - began, 500 + LATE_MS);
    began = now_ms();
    close_publisher(instance);
    ck_assert_int_lt(now_ms() - began, 1000 + LATE_MS);
}
END_TEST

static void *cancel_soon(void *fd)
{
    uint64_t one = 1;
    usleep(300000);
    if (write(*(int *)fd, &one, sizeof one) < 0)
        abort();
    return NULL;
}

START_TEST(cancelling_ends_whatever_it_waits_for)
{
    pthread_t thread;
    int fd = eventfd(0, EFD_CLOEXEC);
    fake.silence = silences[_i].silence;
    fake_start(&fake);
    struct instance *instance =
        a_publisher("connect_timeout", "60s", "confirm_timeout", "60s", NULL);
    struct batch *b = a_batch("m", silences[_i].n, filled(silences[_i].payload));
    int64_t began = now_ms();
    ck_assert_int_eq(pthread_create(&thread, NULL, cancel_soon, &fd), 0);
    ck_assert_int_eq(publish(instance, b, 60000, fd), OUTBOX_E_CANCELLED);
    ck_assert_int_lt(now_ms() - began, 10000);
    ck_assert_uint_eq(b->outcomes[b->n - 1].verdict, OUTBOX_UNSET);
    pthread_join(thread, NULL);
    close_publisher(instance);
    close(fd);
}
END_TEST

/* As on a slow line: the kernel takes less at once than a message has. */
static void shrink_send_buffer(uint16_t port)
{
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_in peer = {0};
        socklen_t n = sizeof peer;
        int size = 4096;
        if (getpeername(fd, (struct sockaddr *)&peer, &n) == 0 && ntohs(peer.sin_port) == port)
            ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    }
}

START_TEST(a_write_that_hangs_inside_the_library_ends_in_time)
{
    /* Because the call's time is over, or because it is cancelled. */
    pthread_t thread;
    int fd = eventfd(0, EFD_CLOEXEC);
    fake.silence = FAKE_DEAF_AFTER_FIRST;
    fake_start(&fake);
    struct instance *instance = a_publisher("confirm_timeout", "60s", NULL);
    ck_assert_int_eq(publish(instance, a_batch("first", 1, "x"), 10000, -1), OUTBOX_OK);
    shrink_send_buffer(fake.port);
    struct batch *b = a_batch("m", 20, filled(130000));
    int64_t began = now_ms();
    ck_assert_int_eq(pthread_create(&thread, NULL, cancel_soon, &fd), 0);
    if (_i == 0) {
        ck_assert_int_eq(publish(instance, b, 1000, -1), OUTBOX_E_RETRY);
        ck_assert_int_le(now_ms() - began, 1000 + LATE_MS);
        ck_assert_msg(strstr(b->err.text, "it took no more data"), "%s", b->err.text);
    } else {
        ck_assert_int_eq(publish(instance, b, 60000, fd), OUTBOX_E_CANCELLED);
        ck_assert_int_lt(now_ms() - began, 10000);
    }
    assert_verdicts(b, OUTBOX_UNSET);
    pthread_join(thread, NULL);
    close_publisher(instance);
    close(fd);
}
END_TEST

START_TEST(without_a_confirm_the_connection_is_given_up)
{
    fake.silence = FAKE_SILENT_AFTER_PUBLISH;
    fake_start(&fake);
    struct instance *instance = a_publisher("confirm_timeout", "300ms", NULL);
    struct batch *b = a_batch("m", 3, "x");
    int64_t began = now_ms();
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_E_RETRY);
    ck_assert_int_ge(now_ms() - began, 290);
    ck_assert_int_lt(now_ms() - began, 15000);
    assert_verdicts(b, OUTBOX_UNSET);
    ck_assert_ptr_nonnull(strstr(b->err.text, "no confirm within 300 ms"));
    publish(instance, b, 20000, -1);
    ck_assert_int_eq(fake.connections, 2);
    close_publisher(instance);
}
END_TEST

START_TEST(a_silent_host_leaves_time_for_the_next)
{
    char url[128];
    fake.silence = FAKE_SILENT_AT_ONCE;
    fake_start(&fake);
    fake_start(&second);
    snprintf(url, sizeof url, "amqp://u:p@127.0.0.1:%u,127.0.0.1:%u", fake.port, second.port);
    struct instance *instance = a_publisher("url", url, "connect_timeout", "60s", NULL);
    struct batch *b = a_batch("m", 3, "x");
    ck_assert_int_eq(publish(instance, b, 12000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    close_publisher(instance);
}
END_TEST

/* ---- heartbeats ---- */

START_TEST(an_idle_connection_lives_by_its_heartbeats)
{
    fake.heartbeat_s = 3;
    fake_start(&fake);
    struct instance *instance = a_publisher("heartbeat", "3s", NULL);
    struct batch *b = a_batch("m", 3, "x");
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_OK);
    keepalive_for(instance, 15000, 15);
    for (int i = 0; fake.heartbeats < 5 && i < 6000; i++)
        poll(NULL, 0, 10); /* what was sent arrives */
    ck_assert_int_ge(fake.heartbeats, 5);
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    ck_assert_int_eq(fake.connections, 1);
    close_publisher(instance);
}
END_TEST

static void ack_and_fall_silent(struct fake *f, uint64_t tag, const char *id)
{
    (void)id;
    fake_ack(f, tag, false);
    if (f->connections == 1)
        f->silent = true;
}

START_TEST(a_broker_that_died_while_idle_is_noticed)
{
    fake.heartbeat_s = 1;
    fake.on_message = ack_and_fall_silent;
    fake_start(&fake);
    struct instance *instance = a_publisher("heartbeat", "1s", NULL);
    struct batch *b = a_batch("m", 1, "x");
    int64_t began = now_ms();
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_OK);
    while (keepalive(instance).again_ms > 0 && now_ms() - began < 30000)
        poll(NULL, 0, 50);
    ck_assert_int_ge(now_ms() - began, 1800);
    ck_assert_int_lt(now_ms() - began, 20000);
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    ck_assert_int_eq(fake.connections, 2);
    close_publisher(instance);
}
END_TEST

START_TEST(heartbeats_go_on_while_confirms_are_awaited)
{
    fake.heartbeat_s = 3;
    fake.on_message = ack_and_fall_silent;
    fake_start(&fake);
    struct instance *instance = a_publisher("heartbeat", "3s", "confirm_timeout", "30s", NULL);
    struct batch *b = a_batch("m", 5, "x");
    int64_t began = now_ms();
    /* The first is confirmed, then it is dead: found by its silence before confirm_timeout. */
    ck_assert_int_eq(publish(instance, b, 60000, -1), OUTBOX_E_RETRY);
    ck_assert_int_lt(now_ms() - began, 20000);
    ck_assert_ptr_nonnull(strstr(b->err.text, "no sign of life"));
    ck_assert_uint_eq(b->outcomes[0].verdict, OUTBOX_ACCEPTED);
    ck_assert_uint_eq(b->outcomes[4].verdict, OUTBOX_UNSET);
    ck_assert_int_ge(fake.heartbeats, 2);
    close_publisher(instance);
}
END_TEST

/* ---- alarms ---- */

static void block_at_the_third(struct fake *f, uint64_t tag, const char *id)
{
    (void)id;
    if (tag == 3)
        fake_block(f, "low on memory");
    else
        fake_ack(f, tag, false);
}

START_TEST(an_alarm_pauses_and_keeps_the_connection)
{
    fake.on_message = block_at_the_third;
    fake_start(&fake);
    struct instance *instance = a_publisher("confirm_timeout", "500ms", "window", "2", NULL);
    struct batch *b = a_batch("m", 50, "x");
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_E_RETRY);
    ck_assert_uint_eq(b->outcomes[1].verdict, OUTBOX_ACCEPTED);
    ck_assert_uint_eq(b->outcomes[2].verdict, OUTBOX_UNSET); /* may have arrived */
    ck_assert_uint_eq(b->outcomes[49].verdict, OUTBOX_UNAVAILABLE);
    ck_assert_msg(strstr(reason(b, 49), "takes no messages for now: low on memory"), "%s",
                  reason(b, 49));
    /* Nothing more is sent, however often it is asked for. */
    int sent = fake.messages;
    int64_t fastest = INT64_MAX;
    for (int i = 0; i < 5; i++) {
        int64_t began = now_ms();
        publish(instance, b, 10000, -1);
        assert_verdicts(b, OUTBOX_UNAVAILABLE);
        fastest = now_ms() - began < fastest ? now_ms() - began : fastest;
    }
    ck_assert_int_lt(fastest, 300);
    char told[256];
    snprintf(told, sizeof told, "%s", reason(b, 49));
    struct outbox_keepalive state = keepalive(instance);
    ck_assert_uint_eq(state.verdict, OUTBOX_UNAVAILABLE);
    ck_assert_str_eq(state.reason.p, told); /* the same words, or the log repeats it */
    ck_assert_int_eq(fake.messages, sent);
    /* The alarm ends; what was under way is confirmed late, and all goes on. */
    fake_unblock(&fake);
    fake_ack(&fake, 3, false);
    if (sent > 3) /* unless it heard of the alarm before */
        fake_ack(&fake, 4, false);
    poll(NULL, 0, 100);
    ck_assert_uint_eq(keepalive(instance).verdict, OUTBOX_ACCEPTED);
    b = a_batch("n", 20, "x");
    ck_assert_msg(publish(instance, b, 10000, -1) == OUTBOX_OK, "%s", b->err.text);
    ck_assert_int_eq(fake.connections, 1);
    close_publisher(instance);
}
END_TEST

static void block_for_a_moment(struct fake *f, uint64_t tag, const char *id)
{
    (void)id;
    if (tag == 3) {
        fake_block(f, "low on disk");
        poll(NULL, 0, 300);
        fake_unblock(f);
    }
    fake_ack(f, tag, false);
}

static void stop_for_a_moment(struct fake *f, uint64_t tag, const char *id)
{
    (void)id;
    if (tag == 3) {
        fake_flow(f, false);
        poll(NULL, 0, 300);
        fake_flow(f, true);
    }
    fake_ack(f, tag, false);
}

static void (*const moments[])(struct fake *, uint64_t, const char *) = {block_for_a_moment,
                                                                         stop_for_a_moment};

START_TEST(a_short_alarm_is_waited_for)
{
    fake.on_message = moments[_i];
    fake_start(&fake);
    struct instance *instance = a_publisher("window", "2", NULL);
    struct batch *b = a_batch("m", 50, "x");
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    close_publisher(instance);
}
END_TEST

int main(void)
{
    publisher_use(&fake_kind);
    Suite *suite = suite_create("amqp silence");
    TCase *tc = tcase_create("silence");
    int n = sizeof silences / sizeof silences[0];
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 180);
    tcase_add_test(tc, connecting_to_a_silent_peer_ends_after_connect_timeout);
    tcase_add_test(tc, a_channel_that_does_not_open_is_given_up_after_connect_timeout);
    tcase_add_loop_test(tc, a_call_is_never_longer_than_its_time, 0, n);
    tcase_add_loop_test(tc, cancelling_ends_whatever_it_waits_for, 0, n);
    tcase_add_loop_test(tc, a_write_that_hangs_inside_the_library_ends_in_time, 0, 2);
    tcase_add_test(tc, without_a_confirm_the_connection_is_given_up);
    tcase_add_test(tc, a_silent_host_leaves_time_for_the_next);
    tcase_add_test(tc, an_idle_connection_lives_by_its_heartbeats);
    tcase_add_test(tc, a_broker_that_died_while_idle_is_noticed);
    tcase_add_test(tc, heartbeats_go_on_while_confirms_are_awaited);
    tcase_add_test(tc, an_alarm_pauses_and_keeps_the_connection);
    tcase_add_loop_test(tc, a_short_alarm_is_waited_for, 0, 2);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
