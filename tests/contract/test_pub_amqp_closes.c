/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: a broker that closes the channel or the connection, politely or not. */
#include "fake_case.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* How often each message arrived while the channel was open. */
static _Atomic int arrived[51];

static void choke_on_seven(struct fake *f, uint64_t tag, const char *id)
{
    arrived[strtol(id + 2, NULL, 10)]++;
    if (strcmp(id, "m-7") == 0 || strcmp(id, "m-33") == 0)
        fake_close_channel(f, 406, "PRECONDITION_FAILED - indigestible");
    else if (f->opened > 1 || tag == 1)
        fake_ack(f, tag, false); /* before the first error the confirms are lost */
}

START_TEST(only_the_culprit_pays_for_a_closed_channel)
{
    struct instance *instance = publisher_against(choke_on_seven);
    struct batch *b = a_batch("m", 50, "x");
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_OK);
    for (uint64_t i = 0; i < 50; i++)
        ck_assert_msg(b->outcomes[i].verdict ==
                          (i == 6 || i == 32 ? OUTBOX_REJECTED : OUTBOX_ACCEPTED),
                      "%d: %u", (int)i, b->outcomes[i].verdict);
    ck_assert_str_eq(reason(b, 6), "the broker refuses it: 406 PRECONDITION_FAILED - indigestible");
    ck_assert_int_eq(fake.connections, 1);
    /* The others are sent again at most once, whatever the number of culprits. */
    for (uint64_t i = 1; i <= 50; i++)
        ck_assert_int_le(arrived[i], 2);
    close_publisher(instance);
}
END_TEST

static void shut_down_at_five(struct fake *f, uint64_t tag, const char *id)
{
    (void)id;
    if (f->connections == 1 && tag == 5)
        fake_close_connection(f, 320, "CONNECTION_FORCED - broker forced connection closure");
    else
        fake_ack(f, tag, false);
}

static void hang_up_at_five(struct fake *f, uint64_t tag, const char *id)
{
    (void)id;
    if (f->connections == 1 && tag == 5)
        fake_hang_up(f);
    else
        fake_ack(f, tag, false);
}

static void (*const ends[])(struct fake *, uint64_t, const char *) = {shut_down_at_five,
                                                                      hang_up_at_five};

START_TEST(a_connection_that_ends_leaves_the_rest_unset)
{
    struct instance *instance = publisher_against(ends[_i]);
    struct batch *b = a_batch("m", 50, "x");
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_E_RETRY);
    ck_assert_uint_eq(b->outcomes[0].verdict, OUTBOX_ACCEPTED);
    ck_assert_uint_eq(b->outcomes[49].verdict, OUTBOX_UNSET);
    ck_assert_msg(strstr(b->err.text, _i ? "127.0.0.1" : "320 CONNECTION_FORCED"), "%s",
                  b->err.text);
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    close_publisher(instance);
}
END_TEST

static void hang_up_at_the_second(struct fake *f, uint64_t tag, const char *id)
{
    (void)id;
    if (f->connections == 1 && tag == 2)
        fake_hang_up(f); /* as one that had been dead for long */
    else
        fake_ack(f, tag, false);
}

START_TEST(a_connection_that_died_while_idle_fails_nothing)
{
    struct instance *instance = publisher_against(hang_up_at_the_second);
    publish(instance, a_batch("first", 1, "x"), 10000, -1);
    struct batch *b = a_batch("m", 50, "x");
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    ck_assert_int_eq(fake.connections, 2);
    close_publisher(instance);
}
END_TEST

/* How many calls have returned, and how often the broker has sent something behind a confirm. */
static _Atomic int back, behind;

static void close_behind(struct fake *f, uint64_t tag, const char *id)
{
    int one = 1;
    /* Or else the kernel keeps what comes second until the peer has acknowledged the first. */
    setsockopt(f->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fake_ack(f, tag, false);
    for (int ms = 0; back <= behind && ms < 20000; ms++)
        poll(NULL, 0, 1);
    if (strcmp(id, "first-1") == 0)
        fake_close_channel(f, 541, "INTERNAL_ERROR");
    if (strcmp(id, "second-1") == 0)
        fake_close_connection(f, 320, "CONNECTION_FORCED");
    behind++;
}

START_TEST(what_is_closed_while_idle_is_opened_again)
{
    struct instance *instance = publisher_against(close_behind);
    static const char *const ids[] = {"first", "second", "third"};
    for (int i = 0; i < 3; i++) {
        struct batch *b = a_batch(ids[i], 1, "x");
        ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_OK);
        assert_verdicts(b, OUTBOX_ACCEPTED);
        back++;
        while (behind <= i)
            poll(NULL, 0, 1);
        poll(NULL, 0, 20); /* it arrives */
        if (i != 1)
            keepalive(instance);
    }
    ck_assert_int_eq(fake.connections, 2);
    ck_assert_int_eq(fake.channels, 3);
    close_publisher(instance);
}
END_TEST

static void nack_first(struct fake *f, uint64_t tag, const char *id)
{
    (void)id;
    if (f->channels == 1)
        fake_nack(f, tag, false);
    else
        fake_ack(f, tag, false);
}

START_TEST(a_channel_that_was_nacked_is_opened_anew)
{
    struct instance *instance = publisher_against(nack_first);
    struct batch *b = a_batch("m", 1, "x");
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_LATER);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_OK);
        assert_verdicts(b, OUTBOX_ACCEPTED);
    }
    ck_assert_int_eq(fake.connections, 1);
    ck_assert_int_eq(fake.channels, 2);
    close_publisher(instance);
}
END_TEST

START_TEST(headers_larger_than_a_frame_are_not_sent)
{
    struct outbox_header header = {{"h", 1}, {NULL, 0}};
    char *value = mine(calloc(1, 5000), free);
    memset(value, 'x', 4999);
    header.value = outbox_cstr(value);
    fake.frame_max = 4096;
    struct instance *instance = publisher_against(NULL);
    struct batch *b = a_batch("m", 3, "x");
    b->msgs[1].headers = &header;
    b->msgs[1].n_headers = 1;
    b->msgs[2].payload = outbox_cstr(value);
    ck_assert_int_eq(publish(instance, b, 10000, -1), OUTBOX_OK);
    ck_assert_uint_eq(b->outcomes[1].verdict, OUTBOX_REJECTED);
    ck_assert_ptr_nonnull(strstr(reason(b, 1), "and the broker has room for 4088"));
    ck_assert_uint_eq(b->outcomes[2].verdict, OUTBOX_ACCEPTED);
    ck_assert_int_eq(fake.messages, 2);
    ck_assert_int_eq(fake.channels, 1);
    close_publisher(instance);
}
END_TEST

int main(void)
{
    publisher_use(&fake_kind);
    Suite *suite = suite_create("amqp closes");
    TCase *tc = tcase_create("closes");
    tcase_add_checked_fixture(tc, fake_set_up, fake_tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, only_the_culprit_pays_for_a_closed_channel);
    tcase_add_loop_test(tc, a_connection_that_ends_leaves_the_rest_unset, 0, 2);
    tcase_add_test(tc, a_connection_that_died_while_idle_fails_nothing);
    tcase_add_test(tc, what_is_closed_while_idle_is_opened_again);
    tcase_add_test(tc, a_channel_that_was_nacked_is_opened_anew);
    tcase_add_test(tc, headers_larger_than_a_frame_are_not_sent);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
