/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: a real RabbitMQ that restarts, is killed, runs out of memory, or gets nothing to do. */
#include "amqp_rig.h"
#include "fake_case.h"
#include "own_servers.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *queue;

static void set_up(void)
{
    queue = rig_name("q");
    rig_start();
    /* Classic: a quorum queue that is younger than three minutes does not survive SIGKILL. */
    rig_queue(queue, NULL);
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
    options_set(cfg, "mode", "queue", &err);
    options_set(cfg, "queue", queue, &err);
}

static const struct publisher_kind kind = {.plugin = "amqp", .configure = configure};

/* Before SIGKILL: a broker that has just created a queue may not have it on its disk yet. */
static void let_it_write(void)
{
    rig_ctl("eval", "catch mnesia:sync_log().", NULL);
}

/* Publishes what has no final outcome yet, as a relay would, until all is accepted. */
static void publish_until_accepted(struct instance *instance, struct batch *b)
{
    const struct outbox_call call = {sizeof call, 10000, -1, 200};
    int64_t deadline = now_ms() + 60000;
    int r = batch_publish(b, instance, &call);
    for (uint64_t other; batch_accepted(b, &other) < b->n;) {
        ck_assert_msg(now_ms() < deadline, "the call: %d, and %s", r, batch_tell(b, other));
        for (uint64_t i = 0; i < b->n; i++) {
            ck_assert_uint_ne(b->outcomes[i].verdict, OUTBOX_RETRY);
            ck_assert_uint_ne(b->outcomes[i].verdict, OUTBOX_REJECTED);
            if (b->outcomes[i].verdict != OUTBOX_ACCEPTED)
                b->outcomes[i].verdict = OUTBOX_UNSET;
        }
        poll(NULL, 0, 200);
        r = batch_publish_unset(b, instance, &call);
    }
}

START_TEST(after_a_restart_while_idle_the_first_batch_passes)
{
    static const char *const ways[] = {"stop", "kill"};
    struct instance *instance = a_publisher(NULL);
    struct batch *b = a_batch("m", 20, "x");
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    rig_disconnect();
    let_it_write();
    rig_services(ways[_i % 2], "rabbitmq", NULL);
    rig_services("start", "rabbitmq", NULL);
    if (_i < 2)
        keepalive(instance);
    b = a_batch("n", 20, "x");
    if (publish(instance, b, 20000, -1) < 0)
        ck_abort_msg("%s", b->err.text);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    rig_reconnect();
    ck_assert_int_eq(rig_depth(queue), 40);
    close_publisher(instance);
}
END_TEST

START_TEST(a_restart_in_the_middle_loses_nothing)
{
    static const char *const ways[] = {"stop", "kill"};
    struct instance *instance = a_publisher(NULL);
    struct batch *b = a_batch("m", 1500, "x"), *warm = a_batch("warm", 1500, "x");
    rig_disconnect();
    let_it_write();
    rig_services_in_background(ways[_i], "rabbitmq", NULL);
    /* Goes on until the broker is away. */
    int64_t deadline = now_ms() + 40000;
    while (publish(instance, warm, 10000, -1) == OUTBOX_OK && now_ms() < deadline)
        ;
    for (uint64_t i = 0; i < warm->n; i++) {
        ck_assert_uint_ne(warm->outcomes[i].verdict, OUTBOX_RETRY);
        ck_assert_uint_ne(warm->outcomes[i].verdict, OUTBOX_REJECTED);
    }
    rig_wait_for_services();
    rig_services("start", "rabbitmq", NULL);
    publish_until_accepted(instance, b);
    publish_until_accepted(instance, warm);
    close_publisher(instance);
    rig_reconnect();
    for (uint64_t i = 0; i < b->n; i += 97)
        ck_assert_int_ge(rig_arrived(queue, b->msgs[i].id.p), 1);
    for (uint64_t i = 0; i < warm->n; i += 97)
        ck_assert_int_ge(rig_arrived(queue, warm->msgs[i].id.p), 1);
}
END_TEST

START_TEST(while_the_broker_is_away_nothing_is_charged)
{
    struct instance *instance = a_publisher(NULL);
    struct batch *b = a_batch("m", 20, "x");
    rig_disconnect();
    let_it_write();
    rig_services("kill", "rabbitmq", NULL);
    for (int i = 0; i < 3; i++) {
        publish(instance, b, 10000, -1);
        assert_verdicts(b, OUTBOX_UNAVAILABLE);
    }
    ck_assert_msg(strstr(reason(b, 0), "Connection refused"), "%s", reason(b, 0));
    rig_services("start", "rabbitmq", NULL);
    rig_reconnect();
    rig_queue(queue, NULL); /* should it have been lost all the same */
    publish_until_accepted(instance, b);
    close_publisher(instance);
}
END_TEST

static void wait_for_verdict(struct instance *instance, uint32_t verdict)
{
    int64_t deadline = now_ms() + 20000;
    while (keepalive(instance).verdict != verdict) {
        ck_assert_int_lt(now_ms(), deadline);
        poll(NULL, 0, 50);
    }
}

START_TEST(an_alarm_pauses_and_its_end_resumes)
{
    /* A connection that is there already, or one that is made during the alarm. */
    struct instance *instance = a_publisher("confirm_timeout", "5s", NULL);
    struct batch *b = a_batch("m", 500, "x");
    if (_i == 0)
        publish(instance, a_batch("before", 5, "x"), 20000, -1);
    rig_ctl("set_vm_memory_high_watermark", "absolute", "1000", NULL);
    int64_t began = now_ms();
    publish(instance, b, 20000, -1);
    int64_t took = now_ms() - began;
    uint64_t unset = 0, unavailable = 0;
    for (uint64_t i = 0; i < b->n; i++) {
        unset += b->outcomes[i].verdict == OUTBOX_UNSET;
        unavailable += b->outcomes[i].verdict == OUTBOX_UNAVAILABLE;
        ck_assert(b->outcomes[i].verdict != OUTBOX_RETRY);
        ck_assert(b->outcomes[i].verdict != OUTBOX_REJECTED);
    }
    const char *why = mine(strdup(reason(b, 499)), free);
    publish(instance, b, 20000, -1);
    uint32_t second = b->outcomes[499].verdict, idle = keepalive(instance).verdict;
    const char *alarm = keepalive(instance).reason.p;
    alarm = mine(strdup(alarm ? alarm : ""), free);
    rig_ctl("set_vm_memory_high_watermark", "absolute", "2GB", NULL);
    ck_assert_int_lt(took, 15000);
    ck_assert_uint_gt(unset + unavailable, 0);
    if (_i == 1) {
        ck_assert_msg(strstr(why, "low on memory"), "%s", why);
        ck_assert_uint_le(unset, 1); /* a new connection risks one */
    }
    ck_assert_uint_eq(second, OUTBOX_UNAVAILABLE);
    ck_assert_uint_eq(idle, OUTBOX_UNAVAILABLE);
    ck_assert_str_eq(alarm, "the broker takes no messages for now: low on memory");
    wait_for_verdict(instance, OUTBOX_ACCEPTED);
    publish_until_accepted(instance, b);
    close_publisher(instance);
}
END_TEST

/* Its check tries to publish, and the connection survives the alarm that it finds. */
START_TEST(a_check_tells_an_alarm)
{
    struct outbox_call call = {sizeof call, 5000, -1, 200};
    struct outbox_err err = {.size = sizeof err};
    struct instance *instance = a_publisher(NULL);
    rig_ctl("set_vm_memory_high_watermark", "absolute", "1000", NULL);
    int first = instance->plugin->ops.publisher.check(instance->self, &call, &err);
    char *why = mine(strdup(err.text), free);
    int second = instance->plugin->ops.publisher.check(instance->self, &call, &err);
    rig_ctl("set_vm_memory_high_watermark", "absolute", "2GB", NULL);
    ck_assert_int_eq(first, OUTBOX_E_RETRY);
    ck_assert_int_eq(second, OUTBOX_E_RETRY);
    ck_assert_str_eq(why, "the broker takes no messages for now: low on memory");
    ck_assert_str_eq(err.text, why);
    int64_t until = now_ms() + 20000;
    while (instance->plugin->ops.publisher.check(instance->self, &call, &err) < 0) {
        ck_assert_msg(now_ms() < until, "%s", err.text);
        poll(NULL, 0, 100);
    }
    struct batch *b = a_batch("m", 5, "x");
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    ck_assert_int_eq(rig_depth(queue), 5);
    ck_assert_str_eq(instance->counters[0].name, "amqp_connects_total");
    ck_assert_int_eq(instance->counters[0].value, 1);
    close_publisher(instance);
}
END_TEST

START_TEST(an_idle_connection_survives_many_heartbeats)
{
    struct instance *instance = a_publisher("heartbeat", "3s", NULL);
    struct batch *b = a_batch("m", 20, "x");
    publish(instance, b, 20000, -1);
    int64_t until = now_ms() + 20000;
    while (now_ms() < until) {
        struct outbox_keepalive state = keepalive(instance);
        ck_assert_uint_gt(state.again_ms, 0); /* it is still there */
        poll(NULL, 0, (int)state.again_ms);
    }
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    close_publisher(instance);
}
END_TEST

START_TEST(a_connection_without_keepalive_is_replaced)
{
    struct instance *instance = a_publisher("heartbeat", "1s", NULL);
    struct batch *b = a_batch("m", 20, "x");
    publish(instance, b, 20000, -1);
    poll(NULL, 0, 6000); /* the broker gives it up */
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    close_publisher(instance);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_AMQP");
    own_servers_start("rabbitmq");
    publisher_use(&kind);
    Suite *suite = suite_create("amqp life");
    TCase *tc = tcase_create("life");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 240);
    tcase_add_loop_test(tc, after_a_restart_while_idle_the_first_batch_passes, 0, 4);
    tcase_add_loop_test(tc, a_restart_in_the_middle_loses_nothing, 0, 2);
    tcase_add_test(tc, while_the_broker_is_away_nothing_is_charged);
    tcase_add_loop_test(tc, an_alarm_pauses_and_its_end_resumes, 0, 2);
    tcase_add_test(tc, a_check_tells_an_alarm);
    tcase_add_test(tc, an_idle_connection_survives_many_heartbeats);
    tcase_add_test(tc, a_connection_without_keepalive_is_replaced);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
