/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: a message as one of AMQP: where it may go, its properties and headers. */
#include "publish/publication.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FRAME 131072

/* ---- a section: lists of patterns, and properties ---- */

static struct {
    const char *name, *key, *value;
} section[16];
static size_t n_section;

static uint64_t count(const struct outbox_cfg *cfg, const char *name)
{
    uint64_t n = 0;
    (void)cfg;
    for (size_t i = 0; i < n_section; i++)
        n += strcmp(section[i].name, name) == 0;
    return n;
}

static size_t nth(const char *name, uint64_t index)
{
    size_t i = 0;
    for (;; i++)
        if (strcmp(section[i].name, name) == 0 && index-- == 0)
            return i;
}

static struct outbox_str item(const struct outbox_cfg *cfg, const char *name, uint64_t index)
{
    (void)cfg;
    return outbox_cstr(section[nth(name, index)].value);
}

static struct outbox_str key(const struct outbox_cfg *cfg, const char *name, uint64_t index)
{
    (void)cfg;
    return outbox_cstr(section[nth(name, index)].key);
}

static const struct outbox_host host = {
    .size = sizeof host, .option_count = count, .option_item = item, .option_key = key};

static void has(const char *name, const char *key_of, const char *value)
{
    section[n_section].name = name;
    section[n_section].key = key_of;
    section[n_section++].value = value;
}

/* ---- settings, a message, and what becomes of it ---- */

static struct settings settings;
static struct outbox_header headers[8];
static struct outbox_message msg;
static amqp_table_entry_t entries[8];
static struct arena arena;
static struct publication p;
static struct outbox_err err;

static void set_up(void)
{
    n_section = 0;
    settings = (struct settings){.host = &host, .all_headers = true, .persistent = true};
    err = (struct outbox_err){.size = sizeof err};
    arena = (struct arena)ARENA_INIT(4096);
    template_parse("exchange", "events", &settings.exchange, &err);
    template_parse("routing_key", "{topic}", &settings.key, &err);
    msg = (struct outbox_message){
        .size = sizeof msg,
        .created_us = 1700000000999999,
        .id = outbox_cstr("m-1"),
        .topic = outbox_cstr("order.placed"),
        .key = outbox_cstr("k1"),
        .payload = outbox_cstr("{}"),
        .headers = headers,
    };
}

static void tear_down(void)
{
    arena_free(&arena);
}

static void header(const char *name, const char *value)
{
    headers[msg.n_headers++] = (struct outbox_header){outbox_cstr(name), outbox_cstr(value)};
}

static void property(const char *name, const char *value)
{
    has("properties", name, value);
    if (properties_read(&host, NULL, &settings.properties, &err) < 0)
        ck_abort_msg("%s", err.text);
}

static void to_queue(const char *name)
{
    settings.queue_mode = true;
    template_parse("exchange", "", &settings.exchange, &err);
    template_parse("queue", name, &settings.key, &err);
}

static int pack(void)
{
    const struct publication_room room = {entries, &arena};
    return publication_pack(&settings, FRAME, &msg, &room, &p, &err);
}

static void assert_packs(void)
{
    ck_assert_msg(pack() == OUTBOX_OK, "%s", err.text);
}

static void assert_rejected(const char *why)
{
    ck_assert_int_eq(pack(), OUTBOX_E_CONFIG);
    ck_assert_str_eq(err.text, why);
}

static void assert_bytes(amqp_bytes_t bytes, const char *text)
{
    ck_assert_msg(bytes.len == strlen(text) && memcmp(bytes.bytes, text, bytes.len) == 0,
                  "`%.*s`, not `%s`", (int)bytes.len, (char *)bytes.bytes, text);
}

static const amqp_field_value_t *field(const char *name)
{
    for (int i = 0; i < p.properties.headers.num_entries; i++) {
        const amqp_table_entry_t *entry = &p.properties.headers.entries[i];
        if (entry->key.len == strlen(name) && memcmp(entry->key.bytes, name, entry->key.len) == 0)
            return &entry->value;
    }
    ck_abort_msg("no header %s", name);
}

static void assert_list(const char *name, ...)
{
    const amqp_field_value_t *list = field(name);
    va_list ap;
    int n = 0;
    ck_assert_int_eq(list->kind, AMQP_FIELD_KIND_ARRAY);
    va_start(ap, name);
    for (const char *text; (text = va_arg(ap, const char *)); n++) {
        ck_assert_int_lt(n, list->value.array.num_entries);
        ck_assert_int_eq(list->value.array.entries[n].kind, AMQP_FIELD_KIND_UTF8);
        assert_bytes(list->value.array.entries[n].value.bytes, text);
    }
    va_end(ap);
    ck_assert_int_eq(list->value.array.num_entries, n);
}

/* ---- headers ---- */

START_TEST(headers_are_text_unless_the_section_says_otherwise)
{
    header("x-delay", "5000");
    header("Content-Type", "text/plain");
    header("keys", "[\"a\"]");
    assert_packs();
    ck_assert_int_eq(p.properties.headers.num_entries, 2);
    assert_bytes(field("x-delay")->value.bytes, "5000");
    ck_assert_int_eq(field("x-delay")->kind, AMQP_FIELD_KIND_UTF8);
    assert_bytes(field("keys")->value.bytes, "[\"a\"]");
    assert_bytes(p.properties.content_type, "text/plain");
    assert_bytes(p.properties.type, "order.placed");
    ck_assert_uint_eq(p.properties.timestamp, 1700000000);
    ck_assert_int_eq(p.properties.delivery_mode, 2);
}
END_TEST

START_TEST(json_headers_are_what_their_json_is)
{
    settings.json_headers = true;
    header("x-delay", "5000");
    header("tenant", "t1");
    header("ref", "\"5000\"");
    assert_packs();
    ck_assert_int_eq(field("x-delay")->kind, AMQP_FIELD_KIND_I64);
    ck_assert_int_eq(field("x-delay")->value.i64, 5000);
    assert_bytes(field("tenant")->value.bytes, "t1");
    assert_bytes(field("ref")->value.bytes, "5000");
}
END_TEST

START_TEST(only_the_headers_that_are_named_are_read_as_json)
{
    settings.json_headers = true;
    settings.all_headers = false;
    has("json_headers", NULL, "x-*");
    has("json_headers", NULL, "CC");
    header("x-delay", "5000");
    header("ref", "5000");
    header("CC", "[\"a\",\"b\"]");
    header("BCC", "[\"c\"]");
    assert_packs();
    ck_assert_int_eq(field("x-delay")->kind, AMQP_FIELD_KIND_I64);
    ck_assert_int_eq(field("ref")->kind, AMQP_FIELD_KIND_UTF8);
    assert_list("CC", "a", "b", NULL);
    assert_list("BCC", "[\"c\"]", NULL);
}
END_TEST

/* ---- CC and BCC ---- */

START_TEST(cc_and_bcc_are_lists_whatever_they_were)
{
    settings.json_headers = _i == 1;
    header("CC", "one, or two");
    header("BCC", "5");
    header("cc", "text");
    assert_packs();
    assert_list("CC", "one, or two", NULL);
    assert_list("BCC", "5", NULL);
    assert_bytes(field("cc")->value.bytes, "text");
}
END_TEST

START_TEST(every_key_of_a_list_must_be_one)
{
    settings.json_headers = true;
    header("CC", "[\"a\",5]");
    assert_rejected("header CC, for RabbitMQ a list of more routing keys, holds something that is "
                    "no text");
    headers[0].value = outbox_cstr("[\"a\",\"b\\n\"]");
    assert_rejected("header CC, for RabbitMQ one more routing key, holds a control character");
    headers[0].value = outbox_cstr("[]");
    assert_packs();
    assert_list("CC", NULL);
}
END_TEST

START_TEST(no_key_of_a_list_leads_where_it_may_not)
{
    settings.json_headers = true;
    to_queue("jobs");
    has("allow_queues", NULL, "audit-*");
    header("CC", "[\"audit-1\",\"secret\"]");
    assert_rejected("header CC, for RabbitMQ the name of one more queue, is not among "
                    "allow_queues: `secret`");
    headers[0].value = outbox_cstr("[\"audit-1\",\"audit-2\"]");
    assert_packs();
    headers[0] = (struct outbox_header){outbox_cstr("BCC"), outbox_cstr("secret")};
    assert_rejected("header BCC, for RabbitMQ the name of one more queue, is not among "
                    "allow_queues: `secret`");
}
END_TEST

START_TEST(routing_keys_may_be_limited)
{
    settings.limits_keys = settings.json_headers = true;
    has("allow_routing_keys", NULL, "order.*");
    header("CC", "[\"order.audit\",\"bill\"]");
    assert_rejected("header CC, for RabbitMQ one more routing key, is not among "
                    "allow_routing_keys: `bill`");
    headers[0].value = outbox_cstr("[\"order.audit\"]");
    assert_packs();
    msg.topic = outbox_cstr("bill");
    assert_rejected("routing_key `bill` is not among allow_routing_keys");
    /* What the operator wrote is not looked at. */
    template_parse("routing_key", "fixed", &settings.key, &err);
    assert_packs();
}
END_TEST

/* ---- properties ---- */

START_TEST(properties_are_made_of_the_message)
{
    property("priority", "{header.priority}");
    property("expiration", "60000");
    property("correlation-id", "{header.order}");
    property("reply-to", "replies.{key}");
    property("content-encoding", "{header.encoding}");
    property("content-type", "application/json");
    property("app-id", "shop");
    property("user-id", "{header.nobody}");
    property("type", "{header.event}");
    header("priority", "7");
    header("order", "o-1");
    header("event", "placed");
    header("tenant", "t1");
    header("encoding", "");
    assert_packs();
    const amqp_basic_properties_t *props = &p.properties;
    ck_assert_int_eq(props->priority, 7);
    assert_bytes(props->expiration, "60000");
    assert_bytes(props->correlation_id, "o-1");
    assert_bytes(props->reply_to, "replies.k1");
    assert_bytes(props->content_type, "application/json");
    assert_bytes(props->app_id, "shop");
    assert_bytes(props->type, "placed");
    ck_assert_uint_eq(props->_flags & (AMQP_BASIC_USER_ID_FLAG | AMQP_BASIC_CONTENT_ENCODING_FLAG),
                      0);
    /* They leave once. */
    ck_assert_int_eq(props->headers.num_entries, 1);
    assert_bytes(field("tenant")->value.bytes, "t1");
}
END_TEST

START_TEST(a_header_within_a_property_stays_one)
{
    property("correlation-id", "order-{header.order}");
    property("type", "{header.event}");
    header("order", "1");
    assert_packs();
    assert_bytes(p.properties.correlation_id, "order-1");
    assert_bytes(field("order")->value.bytes, "1");
    ck_assert_uint_eq(p.properties._flags & AMQP_BASIC_TYPE_FLAG, 0);
    headers[0].name = outbox_cstr("other");
    assert_packs();
    ck_assert_uint_eq(p.properties._flags & AMQP_BASIC_CORRELATION_ID_FLAG, 0);
}
END_TEST

START_TEST(the_header_content_type_goes_first)
{
    property("content-type", "application/json");
    header("content-type", "text/plain");
    assert_packs();
    assert_bytes(p.properties.content_type, "text/plain");
    ck_assert_uint_eq(p.properties._flags & AMQP_BASIC_HEADERS_FLAG, 0);
}
END_TEST

START_TEST(the_topic_may_be_long_where_it_is_no_property)
{
    char topic[301];
    memset(topic, 't', 300);
    topic[300] = '\0';
    to_queue("jobs");
    msg.topic = outbox_cstr(topic);
    assert_rejected("topic is longer than 255 bytes");
    property("type", "event");
    assert_packs();
    assert_bytes(p.properties.type, "event");
}
END_TEST

static const struct {
    const char *name, *value, *why;
} wrong[] = {
    {"priority", "256", "properties.priority is no number, 0 to 255: `256`"},
    {"priority", "high", "properties.priority is no number, 0 to 255: `high`"},
    {"priority", "-1", "properties.priority is no number, 0 to 255: `-1`"},
    {"priority", "1.0", "properties.priority is no number, 0 to 255: `1.0`"},
    {"priority", "18446744073709551617",
     "properties.priority is no number, 0 to 255: `18446744073709551617`"},
    {"expiration", "1m",
     "properties.expiration is no number of milliseconds, 0 to 4294967295: `1m`"},
    {"expiration", "4294967296",
     "properties.expiration is no number of milliseconds, 0 to 4294967295: `4294967296`"},
    {"reply-to", "a\xff", "properties.reply-to is not valid UTF-8: `a\xef\xbf\xbd`"},
};

START_TEST(a_wrong_value_rejects_the_message)
{
    property(wrong[_i].name, "{header.h}");
    header("h", wrong[_i].value);
    assert_rejected(wrong[_i].why);
}
END_TEST

START_TEST(limits_of_properties_are_allowed)
{
    property("priority", "{header.a}");
    property("expiration", "{header.b}");
    header("a", "255");
    header("b", "4294967295");
    assert_packs();
    ck_assert_int_eq(p.properties.priority, 255);
    headers[0].value = headers[1].value = outbox_cstr("0");
    assert_packs();
    ck_assert_int_eq(p.properties.priority, 0);
    assert_bytes(p.properties.expiration, "0");
}
END_TEST

static const struct {
    const char *name, *value, *why;
} mistakes[] = {
    {"priority", "300", "properties.priority: it is no number, 0 to 255"},
    {"app-id", "", "properties.app-id: it is empty"},
    {"app-id", "{tenant}", "properties.app-id: {tenant} is unknown; there are {topic}"},
    {"app_id", "x",
     "properties.app_id: AMQP has no property `app_id` to be set; there are app-id, "
     "content-encoding, content-type, correlation-id, reply-to, type, user-id, "
     "expiration, priority"},
    {"message-id", "x", "properties.message-id: AMQP has no property `message-id` to be set"},
};

START_TEST(mistakes_in_the_section_are_named)
{
    has("properties", mistakes[_i].name, mistakes[_i].value);
    ck_assert_int_eq(properties_read(&host, NULL, &settings.properties, &err), OUTBOX_E_CONFIG);
    ck_assert_msg(strstr(err.text, mistakes[_i].why) == err.text, "%s", err.text);
    ck_assert_int_eq(strncmp(err.option, "properties.", 11), 0);
}
END_TEST

/* ---- the size ---- */

START_TEST(everything_counts_towards_the_frame)
{
    /* The library has room for a frame, and says so when it is too small. */
    static char value[FRAME];
    unsigned char buffer[FRAME];
    settings.json_headers = true;
    property("priority", "5");
    property("correlation-id", "{key}");
    property("app-id", "shop");
    property("type", "t");
    memset(value, 'x', sizeof value);
    header("content-type", "text/plain");
    header("CC", "[\"a\",\"b\"]");
    header("table", "{\"a\":[1,true,null,1.5]}");
    header("large", "");
    for (size_t n = FRAME - 400; n < FRAME; n++) {
        headers[3].value = (struct outbox_str){value, n};
        value[n] = '\0';
        int packed = pack();
        value[n] = 'x';
        if (packed == OUTBOX_OK) {
            int encoded = amqp_encode_properties(AMQP_BASIC_CLASS, &p.properties,
                                                 (amqp_bytes_t){sizeof buffer, buffer});
            ck_assert_int_gt(encoded, 0);
            ck_assert_int_le(encoded + 12 + FRAME_OVERHEAD, FRAME);
            continue;
        }
        /* The first that does not fit would have been a byte too long. */
        int encoded = amqp_encode_properties(AMQP_BASIC_CLASS, &p.properties,
                                             (amqp_bytes_t){sizeof buffer, buffer});
        ck_assert_int_eq(encoded + 12 + FRAME_OVERHEAD, FRAME + 1);
        ck_assert_ptr_nonnull(strstr(err.text, "the headers take 131065 bytes"));
        return;
    }
    ck_abort_msg("everything fits");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("amqp publication");
    TCase *tc = tcase_create("publication");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, headers_are_text_unless_the_section_says_otherwise);
    tcase_add_test(tc, json_headers_are_what_their_json_is);
    tcase_add_test(tc, only_the_headers_that_are_named_are_read_as_json);
    tcase_add_loop_test(tc, cc_and_bcc_are_lists_whatever_they_were, 0, 2);
    tcase_add_test(tc, every_key_of_a_list_must_be_one);
    tcase_add_test(tc, no_key_of_a_list_leads_where_it_may_not);
    tcase_add_test(tc, routing_keys_may_be_limited);
    tcase_add_test(tc, properties_are_made_of_the_message);
    tcase_add_test(tc, a_header_within_a_property_stays_one);
    tcase_add_test(tc, the_header_content_type_goes_first);
    tcase_add_test(tc, the_topic_may_be_long_where_it_is_no_property);
    tcase_add_loop_test(tc, a_wrong_value_rejects_the_message, 0, sizeof wrong / sizeof wrong[0]);
    tcase_add_test(tc, limits_of_properties_are_allowed);
    tcase_add_loop_test(tc, mistakes_in_the_section_are_named, 0,
                        sizeof mistakes / sizeof mistakes[0]);
    tcase_add_test(tc, everything_counts_towards_the_frame);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
