/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: what the broker refuses, and which messages are charged for it. */
#include "amqp_rig.h"
#include "conform/publisher_contract.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <poll.h>
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
    rig_bind(queue, exchange, "to.#");
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
}

static const struct publisher_kind kind = {.plugin = "amqp", .configure = configure};

static void set_topics(struct batch *b, const char *topic)
{
    for (uint64_t i = 0; i < b->n; i++)
        b->msgs[i].topic = outbox_cstr(topic);
}

static int check(struct instance *instance, struct outbox_err *err)
{
    struct outbox_call call = {sizeof call, 20000, -1, 200};
    *err = (struct outbox_err){.size = sizeof *err};
    return instance->plugin->ops.publisher.check(instance->self, &call, err);
}

static void assert_reason(const struct batch *b, uint64_t i, const char *part)
{
    ck_assert_msg(strstr(reason(b, i), part) != NULL, "%s", reason(b, i));
}

static void assert_counter(const struct instance *instance, const char *name, int64_t value)
{
    for (size_t i = 0; i < INSTANCE_COUNTERS; i++)
        if (strcmp(instance->counters[i].name, name) == 0)
            ck_assert_int_eq(instance->counters[i].value, value);
}

/* ---- unroutable ---- */

START_TEST(an_unroutable_message_is_charged_and_others_pass)
{
    struct instance *instance = a_publisher("exchange", exchange, NULL);
    struct batch *b = a_batch("m", 20, "x");
    for (uint64_t i = 0; i < b->n; i++)
        b->msgs[i].topic = outbox_cstr(i % 3 ? "to.me" : "nowhere");
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    for (uint64_t i = 0; i < b->n; i++)
        ck_assert_uint_eq(b->outcomes[i].verdict, i % 3 ? OUTBOX_ACCEPTED : OUTBOX_RETRY);
    assert_reason(b, 0, "unroutable: no queue is bound to the exchange");
    assert_reason(b, 0, "`nowhere`, or of a headers exchange for these headers: 312 NO_ROUTE");
    ck_assert_int_eq(rig_depth(queue), 13);
    close_publisher(instance);
}
END_TEST

START_TEST(without_mandatory_the_unroutable_is_accepted)
{
    struct instance *instance = a_publisher("exchange", exchange, "mandatory", "no", NULL);
    struct batch *b = a_batch("m", 3, "x");
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    ck_assert_int_eq(rig_depth(queue), 0);
    close_publisher(instance);
}
END_TEST

START_TEST(large_messages_come_back_as_well)
{
    struct instance *instance = a_publisher("exchange", exchange, NULL);
    char *large = mine(calloc(1, (5 << 20) + 1), free);
    memset(large, 'x', 5 << 20);
    struct batch *b = a_batch("m", 5, large);
    ck_assert_int_eq(publish(instance, b, 60000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_RETRY);
    set_topics(b, "to.me");
    ck_assert_int_eq(publish(instance, b, 60000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    close_publisher(instance);
}
END_TEST

/* ---- missing ---- */

START_TEST(a_missing_fixed_exchange_is_an_outage)
{
    struct outbox_err err;
    struct instance *instance = a_publisher("exchange", rig_name("missing"), NULL);
    struct batch *b = a_batch("m", 10, "x");
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_E_RETRY);
    assert_verdicts(b, OUTBOX_UNAVAILABLE);
    assert_reason(b, 9, "404 NOT_FOUND - no exchange");
    ck_assert_int_eq(check(instance, &err), OUTBOX_E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.text, "no exchange"));
    /* It is made, and all goes on. */
    rig_exchange(rig_name("missing"), "fanout");
    rig_bind(queue, rig_name("missing"), "");
    ck_assert_int_eq(check(instance, &err), OUTBOX_OK);
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    ck_assert_int_eq(rig_depth(queue), 10);
    close_publisher(instance);
}
END_TEST

START_TEST(a_missing_exchange_that_a_message_names_costs_only_that_message)
{
    struct instance *instance =
        a_publisher("exchange", "{key}", "allow_exchanges", "*", "routing_key", "to.me", NULL);
    struct batch *b = a_batch("m", 300, "x");
    for (uint64_t i = 0; i < b->n; i++)
        b->msgs[i].key = outbox_cstr(i % 50 == 20 ? "missing" : exchange);
    ck_assert_int_eq(publish(instance, b, 30000, -1), OUTBOX_OK);
    for (uint64_t i = 0; i < b->n; i++)
        ck_assert_msg(b->outcomes[i].verdict == (i % 50 == 20 ? OUTBOX_RETRY : OUTBOX_ACCEPTED),
                      "%d: %u %s", (int)i, b->outcomes[i].verdict, reason(b, i));
    assert_reason(b, 20, "404 NOT_FOUND - no exchange 'missing'");
    assert_reason(b, 270, "404 NOT_FOUND - no exchange 'missing'");
    for (uint64_t i = 0; i < b->n; i++)
        ck_assert_int_eq(rig_arrived(queue, b->msgs[i].id.p) > 0, i % 50 != 20);
    close_publisher(instance);
}
END_TEST

START_TEST(a_missing_fixed_queue_is_an_outage)
{
    struct outbox_err err;
    struct instance *instance = a_publisher("mode", "queue", "queue", rig_name("missing"), NULL);
    struct batch *b = a_batch("m", 10, "x");
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_E_RETRY);
    assert_verdicts(b, OUTBOX_UNAVAILABLE);
    assert_reason(b, 0, "does not exist: 312 NO_ROUTE");
    ck_assert_int_eq(check(instance, &err), OUTBOX_E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.text, "no queue"));
    rig_queue(rig_name("missing"), NULL);
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    ck_assert_int_eq(rig_depth(rig_name("missing")), 10);
    close_publisher(instance);
}
END_TEST

START_TEST(a_missing_queue_that_a_message_names_costs_only_that_message)
{
    struct instance *instance =
        a_publisher("mode", "queue", "queue", "{key}", "allow_queues", "*", NULL);
    struct batch *b = a_batch("m", 10, "x");
    for (uint64_t i = 0; i < b->n; i++)
        b->msgs[i].key = outbox_cstr(i == 4 ? "missing" : queue);
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    for (uint64_t i = 0; i < b->n; i++)
        ck_assert_uint_eq(b->outcomes[i].verdict, i == 4 ? OUTBOX_RETRY : OUTBOX_ACCEPTED);
    assert_reason(b, 4, "the queue `missing` does not exist");
    close_publisher(instance);
}
END_TEST

/* ---- nacks ---- */

/* Whether a queue holds one more is sometimes decided late: until it surely takes nothing. */
static void fill(const char *full)
{
    struct instance *instance = a_publisher("mode", "queue", "queue", full, NULL);
    struct batch *b = a_batch("fill", 20, "x");
    int64_t deadline = now_ms() + 20000;
    do
        publish(instance, b, 20000, -1);
    while (b->outcomes[0].verdict == OUTBOX_ACCEPTED && now_ms() < deadline);
    close_publisher(instance);
}

START_TEST(a_full_queue_means_later_and_nothing_but_that_an_outage)
{
    static const char *const types[] = {"classic", "quorum"};
    const char *full = rig_name("full");
    rig_queue(full, "x-queue-type", types[_i], "x-max-length", "5", "x-overflow", "reject-publish",
              NULL);
    rig_bind(full, exchange, "full");
    fill(full);
    int depth = rig_depth(full);
    struct instance *instance = a_publisher("exchange", exchange, NULL);
    struct batch *b = a_batch("m", 100, "x");
    for (uint64_t i = 0; i < b->n; i++)
        b->msgs[i].topic = outbox_cstr(i % 2 ? "full" : "to.me");
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    for (uint64_t i = 0; i < b->n; i++)
        ck_assert_uint_eq(b->outcomes[i].verdict, i % 2 ? OUTBOX_LATER : OUTBOX_ACCEPTED);
    assert_reason(b, 99, "a full queue");
    set_topics(b, "full");
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_E_RETRY);
    assert_verdicts(b, OUTBOX_UNAVAILABLE);
    assert_reason(b, 99, "takes none of the messages");
    ck_assert_int_eq(rig_depth(full), depth);
    close_publisher(instance);
}
END_TEST

START_TEST(one_nack_is_later_a_second_in_a_row_an_outage)
{
    const char *full = rig_name("full");
    struct rig_message got;
    rig_queue(full, "x-max-length", "1", "x-overflow", "reject-publish", NULL);
    struct instance *instance = a_publisher("mode", "queue", "queue", full, NULL);
    struct batch *b = a_batch("m", 1, "x");
    static const uint32_t verdicts[] = {OUTBOX_ACCEPTED, OUTBOX_LATER, OUTBOX_UNAVAILABLE};
    for (int i = 0; i < 3; i++) {
        publish(instance, b, 20000, -1);
        assert_verdicts(b, verdicts[i]);
    }
    while (rig_get(full, &got))
        ;
    publish(instance, b, 20000, -1);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    close_publisher(instance);
}
END_TEST

/* RabbitMQ goes on to nack on a channel that was nacked, after the queue has room again. */
START_TEST(a_queue_that_has_room_again_is_noticed)
{
    const char *full = rig_name("full");
    rig_queue(full, "x-queue-type", "quorum", NULL);
    rig_ctl("set_policy", full, full, "{\"max-length\": 3, \"overflow\": \"reject-publish\"}",
            "--apply-to", "queues", NULL);
    fill(full);
    struct instance *instance = a_publisher("mode", "queue", "queue", full, NULL);
    struct batch *b = a_batch("m", 20, "x");
    publish(instance, b, 20000, -1);
    assert_verdicts(b, OUTBOX_UNAVAILABLE);
    rig_ctl("clear_policy", full, NULL);
    for (int64_t until = now_ms() + 10000; publish(instance, b, 20000, -1) < 0; poll(NULL, 0, 100))
        ck_assert_msg(now_ms() < until, "%s", b->err.text);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    close_publisher(instance);
}
END_TEST

/* ---- errors of the channel ---- */

START_TEST(messages_over_the_brokers_limit_cost_one_channel)
{
    struct instance *instance = a_publisher("mode", "queue", "queue", queue, NULL);
    char *large = mine(calloc(1, 200001), free);
    char was[32], set[192];
    memset(large, 'x', 200000);
    struct batch *b = a_batch("m", 300, "x");
    for (uint64_t i = 10; i < b->n; i += 50)
        b->msgs[i].payload = outbox_cstr(large);
    snprintf(
        was, sizeof was, "%lld",
        strtoll(rig_ctl_output("eval",
                               "{ok, N} = application:get_env(rabbit, max_message_size), N.", NULL),
                NULL, 10));
    /* RabbitMQ 4 copies it into a persistent term when it starts. */
    snprintf(set, sizeof set,
             "application:set_env(rabbit, max_message_size, %s),"
             " persistent_term:put(max_message_size, %s).",
             was, was);
    rig_ctl("eval",
            "application:set_env(rabbit, max_message_size, 100000),"
            " persistent_term:put(max_message_size, 100000).",
            NULL);
    publish(instance, b, 30000, -1);
    rig_ctl("eval", set, NULL);
    for (uint64_t i = 0; i < b->n; i++)
        ck_assert_msg(b->outcomes[i].verdict == (i % 50 == 10 ? OUTBOX_REJECTED : OUTBOX_ACCEPTED),
                      "%u of message %d: %s", b->outcomes[i].verdict, (int)i, reason(b, i));
    assert_reason(b, 10, "the payload has 200000 bytes, and the broker takes 100000 at most");
    assert_counter(instance, "amqp_channel_errors_total", 1);
    close_publisher(instance);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_AMQP");
    rig_lock();
    publisher_use(&kind);
    Suite *suite = suite_create("amqp outcomes");
    TCase *tc = tcase_create("outcomes");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, an_unroutable_message_is_charged_and_others_pass);
    tcase_add_test(tc, without_mandatory_the_unroutable_is_accepted);
    tcase_add_test(tc, large_messages_come_back_as_well);
    tcase_add_test(tc, a_missing_fixed_exchange_is_an_outage);
    tcase_add_test(tc, a_missing_exchange_that_a_message_names_costs_only_that_message);
    tcase_add_test(tc, a_missing_fixed_queue_is_an_outage);
    tcase_add_test(tc, a_missing_queue_that_a_message_names_costs_only_that_message);
    tcase_add_loop_test(tc, a_full_queue_means_later_and_nothing_but_that_an_outage, 0, 2);
    tcase_add_test(tc, one_nack_is_later_a_second_in_a_row_an_outage);
    tcase_add_test(tc, a_queue_that_has_room_again_is_noticed);
    tcase_add_test(tc, messages_over_the_brokers_limit_cost_one_channel);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
