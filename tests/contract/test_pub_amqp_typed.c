/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: headers with types, CC and BCC as lists, properties from messages, and streams. */
#include "amqp_rig.h"
#include "conform/publisher_contract.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *queue, *exchange;
static struct outbox_header headers[16];
static uint64_t n_headers;

static void set_up(void)
{
    rig_start();
    queue = rig_name("q");
    exchange = rig_name("x");
    rig_queue(queue, NULL);
    rig_exchange(exchange, "topic");
    rig_bind(queue, exchange, "topic.#");
    n_headers = 0;
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
    options_set(cfg, "routing_key", "topic.a", &err);
}

static const struct publisher_kind kind = {.plugin = "amqp", .configure = configure};

static void header(const char *name, const char *value)
{
    headers[n_headers++] = (struct outbox_header){outbox_cstr(name), outbox_cstr(value)};
}

/* Publishes one message with these headers. */
static struct batch *send_one(struct instance *instance)
{
    struct batch *b = a_batch("m", 1, "x");
    b->msgs[0].headers = headers;
    b->msgs[0].n_headers = n_headers;
    ck_assert_int_eq(publish(instance, b, 30000, -1), OUTBOX_OK);
    return b;
}

static void assert_accepted(struct batch *b)
{
    ck_assert_msg(b->outcomes[0].verdict == OUTBOX_ACCEPTED, "%s", reason(b, 0));
}

static void assert_rejected(struct batch *b, const char *why)
{
    ck_assert_uint_eq(b->outcomes[0].verdict, OUTBOX_REJECTED);
    ck_assert_msg(strstr(reason(b, 0), why) != NULL, "%s", reason(b, 0));
}

static void assert_has(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "`%s` is not in: %s", part, text);
}

/* ---- headers ---- */

START_TEST(a_receiver_gets_numbers_booleans_lists_and_tables)
{
    struct instance *instance = a_publisher("header_types", "json", NULL);
    struct rig_message got;
    header("x-delay", "5000");
    header("ratio", "0.5");
    header("ok", "true");
    header("none", "null");
    header("tags", "[\"a\",1,[]]");
    header("table", "{\"a\":{\"b\":false}}");
    header("tenant", "t1");
    header("ref", "\"5000\"");
    assert_accepted(send_one(instance));
    ck_assert(rig_get(queue, &got));
    static const char *const each[] = {
        "x-delay=(long)5000;",  "ratio=(double)0.5;",       "ok=(bool)1;", "none=(void);",
        "tags=[a,(long)1,[]];", "table={a={b=(bool)0,},};", "tenant=t1;",  "ref=5000;"};
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++)
        assert_has(got.headers, each[i]);
    close_publisher(instance);
}
END_TEST

START_TEST(a_headers_exchange_compares_numbers)
{
    const char *by_header = rig_name("h");
    rig_exchange(by_header, "headers");
    rig_bind_header(queue, by_header, "version", 2);
    header("version", "2");
    /* As text it is another value, and no queue is bound to that. */
    struct instance *instance = a_publisher("exchange", by_header, NULL);
    ck_assert_uint_eq(send_one(instance)->outcomes[0].verdict, OUTBOX_RETRY);
    close_publisher(instance);
    instance = a_publisher("exchange", by_header, "header_types", "json", "json_headers",
                           "version, x-*", NULL);
    assert_accepted(send_one(instance));
    ck_assert_int_eq(rig_depth(queue), 1);
    close_publisher(instance);
}
END_TEST

START_TEST(names_that_do_not_fit_into_a_table_are_rejected)
{
    struct instance *instance = a_publisher("header_types", "json", NULL);
    char *text = mine(calloc(1, 300), free);
    snprintf(text, 300, "{\"%0260d\":1}", 0);
    header("h", text);
    assert_rejected(send_one(instance), "a name in the JSON of a header is longer than 255 bytes");
    close_publisher(instance);
}
END_TEST

/* What comes back has to be read by the library, too. */
START_TEST(a_returned_message_with_nested_headers_is_understood)
{
    struct instance *instance = a_publisher("header_types", "json", "routing_key", "nowhere", NULL);
    header("deep", "[[[[[[[{\"a\":1}]]]]]]]");
    header("CC", "[]");
    struct batch *b = send_one(instance);
    ck_assert_uint_eq(b->outcomes[0].verdict, OUTBOX_RETRY);
    assert_has(reason(b, 0), "unroutable");
    close_publisher(instance);
}
END_TEST

/* ---- CC and BCC ---- */

START_TEST(cc_and_bcc_reach_every_queue_of_their_lists)
{
    const char *names[] = {"cc1", "cc2", "bcc1"};
    struct rig_message got;
    struct instance *instance = a_publisher("header_types", "json", NULL);
    for (int i = 0; i < 3; i++) {
        rig_queue(rig_name(names[i]), NULL);
        rig_bind(rig_name(names[i]), exchange, names[i]);
    }
    header("CC", "[\"cc1\", \"cc2\"]");
    header("BCC", "[\"bcc1\"]");
    assert_accepted(send_one(instance));
    for (int i = 0; i < 3; i++) {
        ck_assert(rig_get(rig_name(names[i]), &got));
        assert_has(got.headers, "CC=[cc1,cc2];");
        ck_assert_ptr_null(strstr(got.headers, "BCC"));
    }
    ck_assert(rig_get(queue, &got));
    close_publisher(instance);
}
END_TEST

START_TEST(a_key_that_is_not_allowed_rejects_the_message)
{
    struct instance *instance =
        a_publisher("header_types", "json", "allow_routing_keys", "topic.*", NULL);
    header("CC", "[\"topic.b\",\"elsewhere\"]");
    assert_rejected(send_one(instance), "is not among allow_routing_keys: `elsewhere`");
    headers[0].value = outbox_cstr("[\"topic.b\"]");
    assert_accepted(send_one(instance));
    close_publisher(instance);
    instance = a_publisher("exchange", "", "routing_key", "", "mode", "queue", "queue", queue,
                           "allow_queues", "audit-*", "header_types", "json", NULL);
    headers[0].value = outbox_cstr("[\"audit-1\",\"secret\"]");
    assert_rejected(send_one(instance), "is not among allow_queues: `secret`");
    headers[0].value = outbox_cstr("[\"audit-1\"]");
    assert_accepted(send_one(instance));
    close_publisher(instance);
}
END_TEST

/* ---- properties ---- */

static void use_property(struct outbox_cfg *section, const char *name, const char *value)
{
    struct outbox_err err = {.size = sizeof err};
    if (options_set(section, name, value, &err) < 0)
        ck_abort_msg("%s", err.text);
}

START_TEST(a_receiver_gets_the_properties)
{
    struct outbox_cfg *section = a_section(NULL);
    struct rig_message got;
    use_property(section, "properties.priority", "{header.priority}");
    use_property(section, "properties.expiration", "60000");
    use_property(section, "properties.correlation-id", "{header.order}");
    use_property(section, "properties.reply-to", "replies.{topic}");
    use_property(section, "properties.content-encoding", "{header.encoding}");
    use_property(section, "properties.app-id", "shop");
    use_property(section, "properties.user-id", "outbox");
    use_property(section, "properties.type", "{header.event}");
    struct instance *instance = another_publisher(section);
    header("priority", "7");
    header("order", "o-1");
    header("encoding", "gzip");
    header("event", "placed");
    header("tenant", "t1");
    assert_accepted(send_one(instance));
    ck_assert(rig_get(queue, &got));
    ck_assert_str_eq(got.properties,
                     "app-id=shop;content-encoding=gzip;correlation-id=o-1;expiration=60000;"
                     "reply-to=replies.topic;user-id=outbox;priority=7;");
    ck_assert_str_eq(got.type, "placed");
    ck_assert_str_eq(got.headers, "tenant=t1;");
    n_headers = 0;
    header("priority", "256");
    assert_rejected(send_one(instance), "properties.priority is no number, 0 to 255: `256`");
    close_publisher(instance);
}
END_TEST

/* The broker closes the channel for these. */
static const struct {
    const char *name, *value, *why;
} refused[] = {
    {"properties.user-id", "{header.h}", "406 PRECONDITION_FAILED"},
    {"properties.reply-to", "{header.h}", "406 PRECONDITION_FAILED"},
};

START_TEST(what_only_the_broker_can_judge_is_rejected_by_it)
{
    struct outbox_cfg *section = a_section(NULL);
    use_property(section, refused[_i].name, refused[_i].value);
    struct instance *instance = another_publisher(section);
    header("h", _i == 0 ? "somebody" : "amq.rabbitmq.reply-to");
    struct batch *b = send_one(instance);
    assert_rejected(b, refused[_i].why);
    n_headers = 0;
    assert_accepted(send_one(instance));
    close_publisher(instance);
}
END_TEST

/* ---- streams ---- */

static struct instance *a_stream(const char *name, const char *max_bytes)
{
    return a_publisher("exchange", "", "routing_key", "", "mode", "queue", "queue", name, "declare",
                       "create", "queue_type", "stream", "stream_max_bytes", max_bytes,
                       "stream_max_age", "7d", NULL);
}

START_TEST(a_stream_is_made_and_takes_messages)
{
    const char *stream = rig_name("stream");
    struct outbox_call call = {sizeof call, 20000, -1, 200};
    struct outbox_err err = {.size = sizeof err};
    struct instance *instance = a_stream(stream, "1G");
    if (instance->plugin->ops.publisher.check(instance->self, &call, &err) < 0)
        ck_abort_msg("%s", err.text);
    struct batch *b = a_batch("m", 500, "x");
    ck_assert_int_eq(publish(instance, b, 30000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    const char *list = rig_ctl_output("list_queues", "name", "type", "arguments", NULL);
    const char *line = strstr(list, stream);
    ck_assert_msg(line != NULL, "%s", list);
    assert_has(line, "stream");
    assert_has(line, "{\"x-max-length-bytes\",1073741824}");
    assert_has(line, "{\"x-max-age\",\"604800s\"}");
    close_publisher(instance);
    /* With other limits it is another one. */
    instance = a_stream(stream, "2G");
    publish(instance, b, 30000, -1);
    assert_verdicts(b, OUTBOX_UNAVAILABLE);
    assert_has(reason(b, 0), "use declare = passive");
    close_publisher(instance);
    rig_delete_queue(stream);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_AMQP");
    rig_lock();
    publisher_use(&kind);
    Suite *suite = suite_create("amqp typed");
    TCase *tc = tcase_create("typed");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, a_receiver_gets_numbers_booleans_lists_and_tables);
    tcase_add_test(tc, a_headers_exchange_compares_numbers);
    tcase_add_test(tc, names_that_do_not_fit_into_a_table_are_rejected);
    tcase_add_test(tc, a_returned_message_with_nested_headers_is_understood);
    tcase_add_test(tc, cc_and_bcc_reach_every_queue_of_their_lists);
    tcase_add_test(tc, a_key_that_is_not_allowed_rejects_the_message);
    tcase_add_test(tc, a_receiver_gets_the_properties);
    tcase_add_loop_test(tc, what_only_the_broker_can_judge_is_rejected_by_it, 0, 2);
    tcase_add_test(tc, a_stream_is_made_and_takes_messages);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
