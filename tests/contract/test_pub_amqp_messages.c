/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: what a receiver gets of a message, and what cannot be sent. */
#include "amqp_rig.h"
#include "conform/publisher_contract.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *queue, *exchange;

static void set_up(void)
{
    rig_start();
    queue = rig_name("q");
    exchange = rig_name("x");
    rig_queue(queue, NULL);
    rig_exchange(exchange, "topic");
    rig_bind(queue, exchange, "#");
}

static void tear_down(void)
{
    free_made();
    rig_stop();
}

static void configure(struct outbox_cfg *cfg)
{
    struct outbox_err err = {.size = sizeof err};
    options_set(cfg, "url", getenv("OUTBOX_TEST_AMQP"), &err);
    options_set(cfg, "exchange", exchange, &err);
}

static const struct publisher_kind kind = {.plugin = "amqp", .configure = configure};

static char *filled(size_t n)
{
    char *text = mine(malloc(n + 1), free);
    memset(text, 'x', n);
    text[n] = '\0';
    return text;
}

/* Publishes one message and leaves its outcome. */
static struct batch *publish_one(struct instance *instance, struct batch *b)
{
    ck_assert_int_eq(publish(instance, b, 60000, -1), OUTBOX_OK);
    return b;
}

/* ---- what arrives ---- */

START_TEST(properties_are_those_of_the_message)
{
    static const struct outbox_header headers[] = {
        {{"tenant", 6}, {"t1", 2}},
        {{"Content-Type", 12}, {"application/json", 16}},
        {{"line", 4}, {"a\nb", 3}},
        {{"caf\xc3\xa9", 5}, {"", 0}},
    };
    struct instance *instance = a_publisher(NULL);
    struct batch *b = a_batch("m", 1, "{\"n\":1}");
    struct rig_message got;
    b->msgs[0].topic = outbox_cstr("order.placed");
    b->msgs[0].created_us = 1700000000999999;
    b->msgs[0].headers = headers;
    b->msgs[0].n_headers = 4;
    publish_one(instance, b);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    ck_assert(rig_get(queue, &got));
    ck_assert_str_eq(got.id, "m-1");
    ck_assert_str_eq(got.type, "order.placed");
    ck_assert_str_eq(got.key, "order.placed");
    ck_assert_str_eq(got.exchange, exchange);
    ck_assert_str_eq(got.content_type, "application/json");
    /* A broker may sort them. */
    static const char *const each[] = {"tenant=t1;", "line=a\nb;", "caf\xc3\xa9=;"};
    ck_assert_uint_eq(strlen(got.headers), strlen(each[0]) + strlen(each[1]) + strlen(each[2]));
    for (int i = 0; i < 3; i++)
        ck_assert_ptr_nonnull(strstr(got.headers, each[i]));
    ck_assert_uint_eq(got.timestamp, 1700000000);
    ck_assert_int_eq(got.delivery_mode, 2);
    ck_assert_str_eq(got.body, "{\"n\":1}");
    close_publisher(instance);
}
END_TEST

/* RabbitMQ wants lists of routing keys in these, and closes the channel otherwise. */
START_TEST(cc_and_bcc_are_sent_as_lists_of_one_routing_key)
{
    static const struct outbox_header headers[] = {
        {{"CC", 2}, {"more, or less", 13}}, {{"BCC", 3}, {"hidden", 6}}, {{"cc", 2}, {"text", 4}}};
    struct instance *instance = a_publisher(NULL);
    struct batch *b = a_batch("m", 1, "x");
    struct rig_message got;
    b->msgs[0].headers = headers;
    b->msgs[0].n_headers = 3;
    publish_one(instance, b);
    ck_assert_msg(b->outcomes[0].verdict == OUTBOX_ACCEPTED, "%s", reason(b, 0));
    ck_assert(rig_get(queue, &got));
    ck_assert_ptr_nonnull(strstr(got.headers, "CC=[more, or less];"));
    ck_assert_ptr_nonnull(strstr(got.headers, "cc=text;"));
    close_publisher(instance);
}
END_TEST

START_TEST(cc_names_no_queue_that_is_not_allowed)
{
    static const struct outbox_header elsewhere = {{"CC", 2}, {"elsewhere", 9}};
    static const struct outbox_header nowhere = {{"BCC", 3}, {"a\nb", 3}};
    struct instance *instance = a_publisher("exchange", "", "mode", "queue", "queue", queue, NULL);
    struct batch *b = a_batch("m", 3, "x");
    b->msgs[0].headers = &elsewhere;
    b->msgs[1].headers = &nowhere;
    b->msgs[0].n_headers = b->msgs[1].n_headers = 1;
    publish_one(instance, b);
    ck_assert_uint_eq(b->outcomes[0].verdict, OUTBOX_REJECTED);
    ck_assert_uint_eq(b->outcomes[1].verdict, OUTBOX_REJECTED);
    ck_assert_uint_eq(b->outcomes[2].verdict, OUTBOX_ACCEPTED);
    ck_assert_str_eq(reason(b, 0),
                     "header CC, for RabbitMQ the name of one more queue, is not among "
                     "allow_queues: `elsewhere`");
    ck_assert_ptr_nonnull(strstr(reason(b, 1), "header BCC, for RabbitMQ one more routing key"));
    close_publisher(instance);
}
END_TEST

START_TEST(without_persistent_messages_are_transient)
{
    struct instance *instance = a_publisher("persistent", "no", NULL);
    struct rig_message got;
    publish_one(instance, a_batch("m", 1, "x"));
    ck_assert(rig_get(queue, &got));
    ck_assert_int_eq(got.delivery_mode, 1);
    close_publisher(instance);
}
END_TEST

START_TEST(a_payload_may_be_null_or_empty)
{
    struct instance *instance = a_publisher(NULL);
    struct batch *b = a_batch("m", 3, "");
    struct rig_message got;
    b->msgs[1].payload = (struct outbox_str){NULL, 0};
    b->msgs[2].payload = (struct outbox_str){"a\0b", 3};
    publish_one(instance, b);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    for (int i = 0; i < 3; i++) {
        ck_assert(rig_get(queue, &got));
        ck_assert_uint_eq(got.body_n, i == 2 ? 3 : 0);
    }
    close_publisher(instance);
}
END_TEST

/* Around what fits into a frame, and far more. */
static const size_t sizes[] = {131063, 131064, 131065, 262128, 10 << 20, 64 << 20};

START_TEST(payloads_of_every_size_arrive_whole)
{
    struct instance *instance = a_publisher(NULL);
    struct batch *b = a_batch("m", 1, filled(sizes[_i]));
    struct rig_message got;
    publish_one(instance, b);
    if (b->outcomes[0].verdict == OUTBOX_REJECTED) { /* RabbitMQ 4 takes 16 MiB by default */
        ck_assert_uint_gt(sizes[_i], 16 << 20);
        ck_assert_ptr_nonnull(strstr(reason(b, 0), "the broker takes 16777216 at most"));
    } else {
        assert_verdicts(b, OUTBOX_ACCEPTED);
        ck_assert(rig_get(queue, &got));
        ck_assert_uint_eq(got.body_n, sizes[_i]);
    }
    close_publisher(instance);
}
END_TEST

START_TEST(a_body_that_fills_its_frame_is_not_held_back)
{
    struct instance *instance = a_publisher("persistent", "no", NULL); /* no disk in it */
    publish_one(instance, a_batch("first", 1, "x"));
    int64_t best = INT64_MAX;
    for (int i = 0; i < 20; i++) {
        struct batch *b = a_batch("m", 1, filled(131064));
        int64_t began = now_ms();
        publish_one(instance, b);
        assert_verdicts(b, OUTBOX_ACCEPTED);
        best = now_ms() - began < best ? now_ms() - began : best;
    }
    ck_assert_int_lt(best, 100); /* the kernel would wait for 200 */
    close_publisher(instance);
}
END_TEST

START_TEST(messages_of_one_id_in_one_call_are_distinguished)
{
    /* Copies of a message: the same id, and only some of them find a queue. */
    struct instance *instance = a_publisher("routing_key", "{key}", NULL);
    struct batch *b = a_batch("m", 6, "x");
    rig_exchange(rig_name("y"), "direct");
    rig_bind(queue, rig_name("y"), "there");
    close_publisher(instance);
    instance = a_publisher("exchange", rig_name("y"), "routing_key", "{key}", NULL);
    for (int i = 0; i < 6; i++) {
        b->msgs[i].id = outbox_cstr("same");
        b->msgs[i].key = outbox_cstr(i % 2 ? "there" : "nowhere");
    }
    publish_one(instance, b);
    for (uint64_t i = 0; i < 6; i++)
        ck_assert_uint_eq(b->outcomes[i].verdict, i % 2 ? OUTBOX_ACCEPTED : OUTBOX_RETRY);
    ck_assert_int_eq(rig_arrived(queue, "same"), 3);
    close_publisher(instance);
}
END_TEST

/* ---- templates ---- */

START_TEST(the_routing_key_is_made_of_the_message)
{
    static const struct outbox_header region = {{"region", 6}, {"eu", 2}};
    struct instance *instance = a_publisher("routing_key", "{header.region}.{topic}.{key}", NULL);
    struct batch *b = a_batch("m", 2, "x");
    struct rig_message got;
    b->msgs[0].headers = &region;
    b->msgs[0].n_headers = 1;
    b->msgs[0].key = outbox_cstr("k1");
    publish_one(instance, b);
    ck_assert_uint_eq(b->outcomes[0].verdict, OUTBOX_ACCEPTED);
    ck_assert(rig_get(queue, &got));
    ck_assert_str_eq(got.key, "eu.topic.k1");
    /* Its neighbour has no region. */
    ck_assert_uint_eq(b->outcomes[1].verdict, OUTBOX_REJECTED);
    ck_assert_str_eq(reason(b, 1),
                     "routing_key needs the header `region`, which the message lacks");
    close_publisher(instance);
}
END_TEST

START_TEST(an_exchange_may_be_named_by_the_message_where_it_is_allowed)
{
    char allowed[400], wanted[300];
    snprintf(allowed, sizeof allowed, "other-*, %s*", rig_name("tenant-"));
    snprintf(wanted, sizeof wanted, "%sa", rig_name("tenant-"));
    rig_exchange(wanted, "fanout");
    rig_bind(queue, wanted, "");
    struct instance *instance =
        a_publisher("exchange", "{topic}", "allow_exchanges", allowed, NULL);
    struct batch *b = a_batch("m", 4, "x");
    b->msgs[0].topic = outbox_cstr(wanted);
    b->msgs[1].topic = outbox_cstr("amq.direct");
    b->msgs[2].topic = outbox_cstr("");
    b->msgs[3].topic = outbox_cstr("other-\n");
    publish_one(instance, b);
    ck_assert_uint_eq(b->outcomes[0].verdict, OUTBOX_ACCEPTED);
    for (uint64_t i = 1; i < 4; i++)
        ck_assert_uint_eq(b->outcomes[i].verdict, OUTBOX_REJECTED);
    ck_assert_str_eq(reason(b, 1), "exchange `amq.direct` is not among allow_exchanges");
    ck_assert_str_eq(reason(b, 2), "exchange is empty for this message");
    ck_assert_str_eq(reason(b, 3), "exchange holds a control character");
    close_publisher(instance);
}
END_TEST

/* ---- what cannot be a message of AMQP ---- */

START_TEST(what_does_not_fit_is_rejected_and_its_neighbours_pass)
{
    struct instance *instance = a_publisher("routing_key", "{key}", NULL);
    struct batch *b = a_batch("m", 8, "x");
    char *long_text = filled(256), *huge = filled(200000);
    struct outbox_header long_name = {outbox_cstr(long_text), {"v", 1}},
                         long_type = {{"content-type", 12}, outbox_cstr(long_text)},
                         too_large = {{"h", 1}, outbox_cstr(huge)}, large = too_large;
    large.value.n = 130000;
    b->msgs[0].topic = outbox_cstr(long_text);
    b->msgs[1].key = outbox_cstr(long_text);
    b->msgs[2].key = (struct outbox_str){"a\0b", 3};
    b->msgs[3].id = outbox_cstr(long_text);
    b->msgs[4].headers = &long_name;
    b->msgs[5].headers = &long_type;
    b->msgs[6].headers = &too_large;
    b->msgs[7].headers = &large;
    for (int i = 4; i < 8; i++)
        b->msgs[i].n_headers = 1;
    static const char *const why[] = {
        "topic is longer than 255 bytes",
        "routing_key is longer than 255 bytes",
        "routing_key holds a NUL",
        "id is longer than 255 bytes",
        "the name of a header is longer than 255 bytes",
        "header content-type is longer than 255 bytes",
    };
    publish_one(instance, b);
    for (uint64_t i = 0; i < 7; i++)
        ck_assert_uint_eq(b->outcomes[i].verdict, OUTBOX_REJECTED);
    for (uint64_t i = 0; i < 6; i++)
        ck_assert_str_eq(reason(b, i), why[i]);
    ck_assert_ptr_nonnull(strstr(reason(b, 6), "the headers take 200"));
    ck_assert_uint_eq(b->outcomes[7].verdict, OUTBOX_ACCEPTED);
    ck_assert_int_eq(rig_arrived(queue, "m-8"), 1);
    close_publisher(instance);
}
END_TEST

START_TEST(headers_fit_to_the_last_byte)
{
    /* Found by the library itself: one byte more, and a publish without a header is on its way. */
    struct instance *instance = a_publisher(NULL);
    char *value = filled(132000);
    size_t fits = 0;
    for (size_t n = 130900; n < 131072; n++) {
        struct batch *b = a_batch("m", 1, "x");
        struct outbox_header header = {{"h", 1}, {value, n}};
        b->msgs[0].headers = &header;
        b->msgs[0].n_headers = 1;
        publish_one(instance, b);
        if (b->outcomes[0].verdict == OUTBOX_ACCEPTED)
            fits = n;
        else
            ck_assert_uint_eq(b->outcomes[0].verdict, OUTBOX_REJECTED);
    }
    ck_assert_uint_gt(fits, 130900);
    ck_assert_uint_lt(fits, 131071);
    close_publisher(instance);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_AMQP");
    rig_lock();
    publisher_use(&kind);
    Suite *suite = suite_create("amqp messages");
    TCase *tc = tcase_create("messages");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, properties_are_those_of_the_message);
    tcase_add_test(tc, cc_and_bcc_are_sent_as_lists_of_one_routing_key);
    tcase_add_test(tc, cc_names_no_queue_that_is_not_allowed);
    tcase_add_test(tc, without_persistent_messages_are_transient);
    tcase_add_test(tc, a_payload_may_be_null_or_empty);
    tcase_add_loop_test(tc, payloads_of_every_size_arrive_whole, 0, sizeof sizes / sizeof sizes[0]);
    tcase_add_test(tc, a_body_that_fills_its_frame_is_not_held_back);
    tcase_add_test(tc, messages_of_one_id_in_one_call_are_distinguished);
    tcase_add_test(tc, the_routing_key_is_made_of_the_message);
    tcase_add_test(tc, an_exchange_may_be_named_by_the_message_where_it_is_allowed);
    tcase_add_test(tc, what_does_not_fit_is_rejected_and_its_neighbours_pass);
    tcase_add_test(tc, headers_fit_to_the_last_byte);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
