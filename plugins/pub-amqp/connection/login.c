/* SPDX-License-Identifier: Apache-2.0 */
/* login.c - who we are, what we can, and the broker's answer. */
#include "common/utf8.h"
#include "connection/connect.h"
#include "publish/reply_code.h"

#include <stdio.h>
#include <string.h>
#include <sys/time.h>

/* The least that AMQP allows. */
#define FRAME_MIN 4096

static amqp_table_entry_t text_entry(const char *name, const char *value)
{
    amqp_table_entry_t entry = {.key = amqp_cstring_bytes(name)};
    entry.value.kind = AMQP_FIELD_KIND_UTF8;
    entry.value.value.bytes = amqp_cstring_bytes(value);
    return entry;
}

static amqp_table_entry_t true_entry(const char *name)
{
    amqp_table_entry_t entry = {.key = amqp_cstring_bytes(name)};
    entry.value.kind = AMQP_FIELD_KIND_BOOLEAN;
    entry.value.value.boolean = 1;
    return entry;
}

static amqp_rpc_reply_t ask(struct attempt *a)
{
    const struct target *target = a->target;
    /* Without the first the broker would not tell that it is out of memory or disk. */
    amqp_table_entry_t abilities[] = {true_entry("connection.blocked"),
                                      true_entry("publisher_confirms"), true_entry("basic.nack")};
    amqp_table_t table = {sizeof abilities / sizeof abilities[0], abilities};
    amqp_table_entry_t capabilities = {.key = amqp_cstring_bytes("capabilities")};
    capabilities.value.kind = AMQP_FIELD_KIND_TABLE;
    capabilities.value.value.table = table;
    amqp_table_entry_t all[] = {text_entry("product", "outboxd"),
                                text_entry("version", target->client_version),
                                text_entry("connection_name", target->client_name), capabilities};
    amqp_table_t properties = {sizeof all / sizeof all[0], all};
    return amqp_login_with_properties(a->c, target->url.vhost, AMQP_DEFAULT_MAX_CHANNELS, FRAME_MAX,
                                      target->heartbeat_s, &properties, AMQP_SASL_METHOD_PLAIN,
                                      target->user, target->password);
}

static int explain(struct attempt *a, const amqp_rpc_reply_t *reply)
{
    const amqp_connection_close_t *close = reply->reply.decoded;
    char text[REPLY_TEXT_MAX];
    if (reply->reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
        reply->reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
        utf8_printable(close->reply_text.bytes, close->reply_text.len, text, sizeof text);
        enum attempt_result result = close->reply_code == AMQP_NOT_ALLOWED ? ATTEMPT_UNWANTED
                                     : reply_is_final(close->reply_code)   ? ATTEMPT_REFUSED
                                                                           : ATTEMPT_FAILED;
        return attempt_fail(a, result, "%d %s", close->reply_code, text);
    }
    int status = reply->library_error;
    const char *tls = a->target->url.tls ? tls_last_error() : NULL;
    if (status == AMQP_STATUS_BROKER_UNSUPPORTED_SASL_METHOD)
        return attempt_fail(a, ATTEMPT_REFUSED, "it does not offer the login mechanism PLAIN");
    if (status == AMQP_STATUS_TIMEOUT)
        return attempt_fail(a, ATTEMPT_FAILED, "no answer to the login within connect_timeout");
    if (tls)
        return attempt_fail(a, ATTEMPT_FAILED, "TLS: %s", tls);
    if (status == AMQP_STATUS_BAD_AMQP_DATA || status == AMQP_STATUS_WRONG_METHOD ||
        status == AMQP_STATUS_INCOMPATIBLE_AMQP_VERSION)
        return attempt_fail(a, ATTEMPT_FAILED, "it does not speak AMQP 0-9-1 there%s",
                            a->target->url.tls ? "" : "; is it a port for amqps?");
    return attempt_fail(a, ATTEMPT_FAILED, "the login failed: %s%s", amqp_error_string2(status),
                        a->target->url.tls ? "" : "; is it a port for amqps?");
}

static struct outbox_str find_text(const amqp_table_t *table, const char *name)
{
    for (int i = 0; i < table->num_entries; i++) {
        const amqp_table_entry_t *entry = &table->entries[i];
        if (entry->key.len == strlen(name) && memcmp(entry->key.bytes, name, entry->key.len) == 0 &&
            entry->value.kind == AMQP_FIELD_KIND_UTF8)
            return (struct outbox_str){entry->value.value.bytes.bytes,
                                       entry->value.value.bytes.len};
    }
    return (struct outbox_str){"", 0};
}

static void remember_broker(struct attempt *a)
{
    const amqp_table_t *table = amqp_get_server_properties(a->c);
    struct outbox_str product = find_text(table, "product"), version = find_text(table, "version");
    char name[64], number[32];
    utf8_printable(product.p, (size_t)product.n, name, sizeof name);
    utf8_printable(version.p, (size_t)version.n, number, sizeof number);
    snprintf(a->broker, sizeof a->broker, "%s%s%s", name, *number ? " " : "", number);
}

int login(struct attempt *a)
{
    struct timeval left = attempt_left(a);
    amqp_set_handshake_timeout(a->c, &left);
    amqp_rpc_reply_t reply = ask(a);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        return explain(a, &reply);
    a->heartbeat_s = amqp_get_heartbeat(a->c);
    int frame_max = amqp_get_frame_max(a->c);
    /*
     * The heartbeats become ours. With the library's, a publish after a silence of two intervals
     * waits for the peer to say something, for ever if need be (rabbitmq-c 780, 788).
     */
    if (frame_max < FRAME_MIN || !amqp_release_buffers_ok(a->c) ||
        amqp_tune_connection(a->c, amqp_get_channel_max(a->c), frame_max, 0) != AMQP_STATUS_OK)
        return attempt_fail(a, ATTEMPT_FAILED, "it offers frames of less than %d bytes", FRAME_MIN);
    remember_broker(a);
    return 0;
}
