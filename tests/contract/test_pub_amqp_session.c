/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: logging in, permissions, declaring, several hosts, on a real RabbitMQ. */
#include "amqp_rig.h"
#include "conform/publisher_contract.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECRET "s3cr3t-passw0rd"

static const char *queue, *exchange;
static const char *port; /* of the broker */
static int log_fd;

static void set_up(void)
{
    char path[] = "/tmp/outbox-amqp-log-XXXXXX";
    rig_start();
    queue = rig_name("q");
    exchange = rig_name("x");
    port = getenv("OUTBOX_TEST_AMQP_PORT");
    log_fd = mkostemp(path, O_CLOEXEC);
    ck_assert_int_ge(log_fd, 0);
    unlink(path);
    publisher_logs_to(log_fd);
}

static void tear_down(void)
{
    free_made();
    rig_stop();
    close(log_fd);
}

static void configure(struct outbox_cfg *cfg)
{
    struct outbox_err err = {.size = sizeof err};
    options_set(cfg, "url", getenv("OUTBOX_TEST_AMQP"), &err);
}

static const struct publisher_kind kind = {.plugin = "amqp", .configure = configure};

static const char *the_log(void)
{
    static char text[65536];
    ssize_t n = pread(log_fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static int check(struct instance *instance, struct outbox_err *err)
{
    struct outbox_call call = {sizeof call, 20000, -1, 200};
    *err = (struct outbox_err){.size = sizeof *err};
    return instance->plugin->ops.publisher.check(instance->self, &call, err);
}

static void assert_says(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "`%s` is not in: %s", part, text);
}

/* ---- logging in ---- */

static const struct {
    const char *user, *password, *option, *vhost, *why;
} refused[] = {
    {"outbox", SECRET, NULL, "", "403 ACCESS_REFUSED"},
    {"nobody", SECRET, NULL, "", "403 ACCESS_REFUSED"},
    {"outbox", "outbox", SECRET, "", "403 ACCESS_REFUSED"}, /* the option is what counts */
    {"outbox", "outbox", NULL, "/nowhere", "530 NOT_ALLOWED - vhost nowhere not found"},
};

START_TEST(a_refused_login_is_an_outage_that_shows_no_secret)
{
    char url[256];
    struct outbox_err err;
    snprintf(url, sizeof url, "amqp://%s:%s@127.0.0.1:%s%s", refused[_i].user, refused[_i].password,
             port, refused[_i].vhost);
    struct instance *instance =
        refused[_i].option
            ? a_publisher("url", url, "exchange", exchange, "password", refused[_i].option, NULL)
            : a_publisher("url", url, "exchange", exchange, NULL);
    struct batch *b = a_batch("m", 5, "x");
    ck_assert_int_lt(publish(instance, b, 20000, -1), 0);
    assert_verdicts(b, OUTBOX_UNAVAILABLE);
    ck_assert_uint_eq(b->outcomes[4].after_ms, 1000);
    assert_says(reason(b, 4), refused[_i].why);
    assert_says(reason(b, 4), "refuses the login as");
    assert_says(b->err.text, refused[_i].why);
    ck_assert_int_eq(check(instance, &err), OUTBOX_E_CONFIG);
    assert_says(err.text, "127.0.0.1");
    ck_assert_ptr_null(strstr(reason(b, 4), SECRET));
    ck_assert_ptr_null(strstr(err.text, SECRET));
    ck_assert_ptr_null(strstr(b->err.text, SECRET));
    ck_assert_ptr_null(strstr(the_log(), SECRET));
    close_publisher(instance);
}
END_TEST

/* A full node says the same as one without the virtual instance, and the next may have room. */
START_TEST(after_a_host_that_refuses_with_530_the_next_is_tried)
{
    char url[256];
    snprintf(url, sizeof url, "amqp://outbox:outbox@127.0.0.1:%s,localhost:%s/nowhere", port, port);
    struct instance *instance = a_publisher("url", url, "exchange", exchange, NULL);
    struct batch *b = a_batch("m", 1, "x");
    ck_assert_int_lt(publish(instance, b, 20000, -1), 0);
    assert_says(the_log(), "530 NOT_ALLOWED - vhost nowhere not found; trying the next host");
    assert_says(reason(b, 0), "localhost");
    close_publisher(instance);
}
END_TEST

START_TEST(a_password_of_its_own_replaces_that_of_the_url)
{
    char url[256];
    rig_queue(queue, NULL);
    snprintf(url, sizeof url, "amqp://outbox:%s@127.0.0.1:%s", SECRET, port);
    struct instance *instance =
        a_publisher("url", url, "password", "outbox", "mode", "queue", "queue", queue, NULL);
    struct batch *b = a_batch("m", 5, "x");
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    assert_says(the_log(), "connected to 127.0.0.1");
    assert_says(the_log(), "(RabbitMQ ");
    close_publisher(instance);
}
END_TEST

START_TEST(the_broker_lists_the_client_properties)
{
    rig_queue(queue, NULL);
    struct instance *instance =
        a_publisher("mode", "queue", "queue", queue, "heartbeat", "7s", NULL);
    struct batch *b = a_batch("m", 1, "x");
    publish(instance, b, 20000, -1);
    const char *list = rig_ctl_output("list_connections", "timeout", "client_properties", NULL);
    assert_says(list, "outboxd publisher test on ");
    assert_says(list, "\"product\",\"outboxd\"");
    assert_says(list, "{\"connection.blocked\",true}");
    assert_says(list, "7\t");
    close_publisher(instance);
    /* It parts politely. */
    ck_assert_ptr_null(strstr(rig_ctl_output("list_connections", "client_properties", NULL),
                              "outboxd publisher test"));
}
END_TEST

/* ---- permissions ---- */

static void add_user(const char *write)
{
    rig_ctl("add_user", "relay", "relay", NULL);
    rig_ctl("set_permissions", "relay", "", write, ".*", NULL);
}

static struct instance *as_relay(const char *exchange_name, const char *allowed)
{
    char url[256];
    snprintf(url, sizeof url, "amqp://relay:relay@127.0.0.1:%s", port);
    return allowed ? a_publisher("url", url, "exchange", exchange_name, "allow_exchanges", allowed,
                                 NULL)
                   : a_publisher("url", url, "exchange", exchange_name, NULL);
}

START_TEST(no_permission_for_a_fixed_exchange_is_an_outage_that_check_tells)
{
    struct outbox_err err;
    rig_exchange(exchange, "topic");
    rig_queue(queue, NULL);
    rig_bind(queue, exchange, "#");
    add_user("nothing");
    struct instance *instance = as_relay(exchange, NULL);
    struct batch *b = a_batch("m", 5, "x");
    int checked = check(instance, &err);
    publish(instance, b, 20000, -1);
    ck_assert_int_eq(checked, OUTBOX_E_CONFIG);
    assert_says(err.text, "cannot publish there: 403 ACCESS_REFUSED");
    assert_says(err.text, "rabbitmqctl set_permissions");
    assert_verdicts(b, OUTBOX_UNAVAILABLE);
    assert_says(reason(b, 0), "rabbitmqctl set_permissions");
    /* With the permission it goes on, and what was tried before reached no queue. */
    rig_ctl("set_permissions", "relay", "", ".*", "", NULL);
    checked = check(instance, &err);
    int depth = rig_depth(queue);
    publish(instance, b, 20000, -1);
    rig_ctl("delete_user", "relay", NULL);
    ck_assert_msg(checked == OUTBOX_OK, "%s", err.text);
    ck_assert_int_eq(depth, 0);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    ck_assert_int_eq(rig_depth(queue), 5);
    close_publisher(instance);
}
END_TEST

START_TEST(the_permissions_that_the_guide_names_are_enough)
{
    char url[256];
    struct outbox_err err;
    rig_queue(queue, NULL);
    rig_exchange(exchange, "topic");
    rig_bind(queue, exchange, "#");
    snprintf(url, sizeof url, "amqp://relay:relay@127.0.0.1:%s", port);
    add_user(_i ? "^amq\\.default$" : exchange);
    struct instance *instance = _i ? a_publisher("url", url, "mode", "queue", "queue", queue, NULL)
                                   : a_publisher("url", url, "exchange", exchange, NULL);
    struct batch *b = a_batch("m", 5, "x");
    int checked = check(instance, &err);
    publish(instance, b, 20000, -1);
    rig_ctl("delete_user", "relay", NULL);
    ck_assert_msg(checked == OUTBOX_OK, "%s", err.text);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    close_publisher(instance);
}
END_TEST

START_TEST(no_permission_for_one_that_a_message_names_costs_only_that_message)
{
    rig_queue(queue, NULL);
    rig_exchange(exchange, "topic");
    rig_bind(queue, exchange, "#");
    add_user(exchange);
    struct instance *instance = as_relay("{topic}", "*");
    struct batch *b = a_batch("m", 20, "x");
    for (uint64_t i = 0; i < b->n; i++)
        b->msgs[i].topic = outbox_cstr(i == 3 ? "amq.topic" : exchange);
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    rig_ctl("delete_user", "relay", NULL);
    for (uint64_t i = 0; i < b->n; i++)
        ck_assert_uint_eq(b->outcomes[i].verdict, i == 3 ? OUTBOX_RETRY : OUTBOX_ACCEPTED);
    assert_says(reason(b, 3), "403 ACCESS_REFUSED");
    close_publisher(instance);
}
END_TEST

START_TEST(no_permission_for_a_routing_key_costs_only_that_message)
{
    rig_queue(queue, NULL);
    rig_exchange(exchange, "topic");
    rig_bind(queue, exchange, "#");
    add_user(".*");
    rig_ctl("set_topic_permissions", "relay", exchange, "^ours", ".*", NULL);
    struct instance *instance = as_relay(exchange, NULL);
    struct batch *b = a_batch("m", 20, "x");
    for (uint64_t i = 0; i < b->n; i++)
        b->msgs[i].topic = outbox_cstr(i == 3 ? "theirs.a" : "ours.a");
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    rig_ctl("delete_user", "relay", NULL);
    for (uint64_t i = 0; i < b->n; i++)
        ck_assert_uint_eq(b->outcomes[i].verdict, i == 3 ? OUTBOX_RETRY : OUTBOX_ACCEPTED);
    close_publisher(instance);
}
END_TEST

/* ---- declaring ---- */

START_TEST(create_makes_a_queue_of_the_configured_type)
{
    static const char *const types[] = {"classic", "quorum"};
    struct outbox_err err;
    struct instance *instance = a_publisher("mode", "queue", "queue", queue, "declare", "create",
                                            "queue_type", types[_i], NULL);
    struct batch *b = a_batch("m", 5, "x");
    ck_assert_int_eq(check(instance, &err), OUTBOX_OK);
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    const char *list = rig_ctl_output("list_queues", "name", "durable", "type", NULL);
    char line[400];
    snprintf(line, sizeof line, "%s\ttrue\t%s", queue, types[_i]);
    assert_says(list, line);
    /* Deleted meanwhile, it is made again. */
    rig_delete_queue(queue);
    publish(instance, b, 20000, -1);
    publish(instance, b, 20000, -1);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    close_publisher(instance);
    /* As what it is it cannot be declared otherwise. */
    instance = a_publisher("mode", "queue", "queue", queue, "declare", "create", "queue_type",
                           types[1 - _i], NULL);
    ck_assert_int_eq(check(instance, &err), OUTBOX_E_CONFIG);
    assert_says(err.text, "cannot declare the queue: 406 PRECONDITION_FAILED");
    assert_says(err.text, "declare = passive");
    publish(instance, b, 20000, -1);
    assert_verdicts(b, OUTBOX_UNAVAILABLE);
    close_publisher(instance);
    rig_delete_queue(queue);
}
END_TEST

START_TEST(create_makes_an_exchange_of_the_configured_type)
{
    struct outbox_err err;
    struct instance *instance =
        a_publisher("exchange", exchange, "declare", "create", "exchange_type", "fanout", NULL);
    ck_assert_int_eq(check(instance, &err), OUTBOX_OK);
    rig_exchange(exchange, "fanout");
    rig_queue(queue, NULL);
    rig_bind(queue, exchange, "");
    struct batch *b = a_batch("m", 5, "x");
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    close_publisher(instance);
}
END_TEST

START_TEST(passive_finds_out_before_anything_is_sent)
{
    struct outbox_err err;
    struct instance *instance =
        a_publisher("mode", "queue", "queue", queue, "declare", "passive", NULL);
    struct batch *b = a_batch("m", 5, "x");
    ck_assert_int_eq(check(instance, &err), OUTBOX_E_CONFIG);
    assert_says(err.text, "404 NOT_FOUND - no queue");
    publish(instance, b, 20000, -1);
    assert_verdicts(b, OUTBOX_UNAVAILABLE);
    rig_queue(queue, NULL);
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    ck_assert_int_eq(check(instance, &err), OUTBOX_OK);
    close_publisher(instance);
}
END_TEST

/* ---- several hosts ---- */

START_TEST(the_next_host_is_tried_when_one_refuses)
{
    char url[256];
    rig_queue(queue, NULL);
    snprintf(url, sizeof url, "amqp://outbox:outbox@127.0.0.1:1,[::1]:1,127.0.0.1:%s", port);
    struct instance *instance = a_publisher("url", url, "mode", "queue", "queue", queue, NULL);
    struct batch *b = a_batch("m", 5, "x");
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    assert_says(the_log(), "cannot connect to 127.0.0.1:1: Connection refused; trying the next");
    assert_says(the_log(), "cannot connect to [::1]:1: ");
    close_publisher(instance);
}
END_TEST

START_TEST(no_host_at_all_is_an_outage)
{
    struct outbox_err err;
    struct instance *instance =
        a_publisher("url", "amqp://u:p@127.0.0.1:1,no-such-instance.invalid:1", "mode", "queue",
                    "queue", queue, NULL);
    struct batch *b = a_batch("m", 5, "x");
    publish(instance, b, 20000, -1);
    assert_verdicts(b, OUTBOX_UNAVAILABLE);
    assert_says(reason(b, 0),
                "cannot connect to no-such-instance.invalid:1: cannot resolve the name");
    ck_assert_int_eq(check(instance, &err), OUTBOX_E_RETRY);
    close_publisher(instance);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_AMQP");
    setenv("RES_OPTIONS", "timeout:1 attempts:2", 1); /* where no name server answers */
    rig_lock();
    publisher_use(&kind);
    Suite *suite = suite_create("amqp session");
    TCase *tc = tcase_create("session");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, a_refused_login_is_an_outage_that_shows_no_secret, 0,
                        sizeof refused / sizeof refused[0]);
    tcase_add_test(tc, after_a_host_that_refuses_with_530_the_next_is_tried);
    tcase_add_test(tc, a_password_of_its_own_replaces_that_of_the_url);
    tcase_add_test(tc, the_broker_lists_the_client_properties);
    tcase_add_test(tc, no_permission_for_a_fixed_exchange_is_an_outage_that_check_tells);
    tcase_add_loop_test(tc, the_permissions_that_the_guide_names_are_enough, 0, 2);
    tcase_add_test(tc, no_permission_for_one_that_a_message_names_costs_only_that_message);
    tcase_add_test(tc, no_permission_for_a_routing_key_costs_only_that_message);
    tcase_add_loop_test(tc, create_makes_a_queue_of_the_configured_type, 0, 2);
    tcase_add_test(tc, create_makes_an_exchange_of_the_configured_type);
    tcase_add_test(tc, passive_finds_out_before_anything_is_sent);
    tcase_add_test(tc, the_next_host_is_tried_when_one_refuses);
    tcase_add_test(tc, no_host_at_all_is_an_outage);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
