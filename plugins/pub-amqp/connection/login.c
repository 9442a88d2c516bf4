/* SPDX-License-Identifier: Apache-2.0 */
/* login.c - presents this client and its capabilities to the broker, and reads its answer. */
#include "connection/login.h"

#include "common/utf8.h"
#include "connection/reply_code.h"
#include "connection/tls.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <string.h>
#include <sys/time.h>

/* What is asked for, and the least that AMQP allows. */
#define FRAME_MAX 131072
#define FRAME_MIN 4096

static amqp_table_entry_t true_entry(const char *name)
{
    amqp_table_entry_t entry = {.key = amqp_cstring_bytes(name)};
    entry.value.kind = AMQP_FIELD_KIND_BOOLEAN;
    entry.value.value.boolean = 1;
    return entry;
}

static amqp_rpc_reply_t send_login(struct attempt *a)
{
    const struct endpoint *endpoint = a->endpoint;
    /* Without the first the broker would not say that it is out of memory or disk. */
    amqp_table_entry_t flags[] = {true_entry("connection.blocked"),
                                  true_entry("publisher_confirms"), true_entry("basic.nack")};
    amqp_table_t table = {sizeof flags / sizeof flags[0], flags};
    amqp_table_entry_t capabilities = {.key = amqp_cstring_bytes("capabilities")};
    capabilities.value.kind = AMQP_FIELD_KIND_TABLE;
    capabilities.value.value.table = table;
    amqp_table_entry_t all[] = {table_text("product", "outboxd"),
                                table_text("version", PACKAGE_VERSION),
                                table_text("connection_name", endpoint->client_name), capabilities};
    amqp_table_t properties = {sizeof all / sizeof all[0], all};
    /* An empty identity would mean the same to the broker, but the library has no memory for it. */
    if (endpoint->external)
        return amqp_login_with_properties(a->state, endpoint->url.vhost, AMQP_DEFAULT_MAX_CHANNELS,
                                          FRAME_MAX, endpoint->heartbeat_s, &properties,
                                          AMQP_SASL_METHOD_EXTERNAL, a->identity);
    return amqp_login_with_properties(a->state, endpoint->url.vhost, AMQP_DEFAULT_MAX_CHANNELS,
                                      FRAME_MAX, endpoint->heartbeat_s, &properties,
                                      AMQP_SASL_METHOD_PLAIN, endpoint->user, a->password);
}

/* What there is to say of a login that the broker does not take. */
static int explain_refused(struct attempt *a, uint16_t code, const char *text)
{
    const struct endpoint *endpoint = a->endpoint;
    if (!endpoint->external)
        return outbox_fail(&a->err, OUTBOX_E_CONFIG,
                           "it refuses the login as `%.64s` to the virtual host `%.64s`: %u %s",
                           endpoint->user, endpoint->url.vhost, code, text);
    char name[80];
    utf8_printable(a->identity, strlen(a->identity), name, sizeof name);
    return outbox_fail(&a->err, OUTBOX_E_CONFIG,
                       "it refuses the login by the certificate of `%s` to the virtual host "
                       "`%.64s`: %u %s%s",
                       name, endpoint->url.vhost, code, text,
                       code == AMQP_ACCESS_REFUSED
                           ? "; one of its users must have the name that the certificate has"
                           : "");
}

static int explain_mechanism(struct attempt *a)
{
    a->login_refused = true;
    if (!a->endpoint->external)
        return outbox_fail(&a->err, OUTBOX_E_CONFIG, "it does not offer the login mechanism PLAIN");
    return outbox_fail(&a->err, OUTBOX_E_CONFIG,
                       "it does not offer the login mechanism EXTERNAL; RabbitMQ needs its plugin "
                       "rabbitmq_auth_mechanism_ssl, and EXTERNAL among auth_mechanisms");
}

static int explain(struct attempt *a, const amqp_rpc_reply_t *reply)
{
    const struct endpoint *endpoint = a->endpoint;
    const amqp_connection_close_t *close = reply->reply.decoded;
    char text[REPLY_TEXT_MAX];
    if (reply->reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
        reply->reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
        utf8_printable(close->reply_text.bytes, close->reply_text.len, text, sizeof text);
        a->turned_away = true;
        if (!reply_code_is_final(close->reply_code))
            return outbox_fail(&a->err, OUTBOX_E_RETRY, "%d %s", close->reply_code, text);
        /* 530 also means that this host is full, or lacks the virtual host; the next may not be. */
        a->login_refused = close->reply_code != AMQP_NOT_ALLOWED;
        return explain_refused(a, close->reply_code, text);
    }
    int status = reply->library_error;
    const char *hint = endpoint->url.tls ? "" : "; is it a port for amqps?";
    const char *tls = endpoint->url.tls ? tls_last_error() : NULL;
    if (status == AMQP_STATUS_BROKER_UNSUPPORTED_SASL_METHOD)
        return explain_mechanism(a);
    if (status == AMQP_STATUS_TIMEOUT)
        return outbox_fail(&a->err, OUTBOX_E_RETRY,
                           "no answer to the login within connect_timeout");
    if (tls)
        return outbox_fail(&a->err, OUTBOX_E_RETRY, "TLS: %s", tls);
    if (status == AMQP_STATUS_BAD_AMQP_DATA || status == AMQP_STATUS_WRONG_METHOD ||
        status == AMQP_STATUS_INCOMPATIBLE_AMQP_VERSION)
        return outbox_fail(&a->err, OUTBOX_E_RETRY, "it does not speak AMQP 0-9-1 there%s", hint);
    return outbox_fail(&a->err, OUTBOX_E_RETRY, "the login failed: %s%s",
                       amqp_error_string2(status), hint);
}

/* "" when the broker does not say. */
static void copy_text(const amqp_table_t *table, const char *name, char *out, size_t cap)
{
    out[0] = '\0';
    for (int i = 0; i < table->num_entries; i++) {
        const amqp_table_entry_t *entry = &table->entries[i];
        amqp_bytes_t value = entry->value.value.bytes;
        if (entry->key.len == strlen(name) && memcmp(entry->key.bytes, name, entry->key.len) == 0 &&
            entry->value.kind == AMQP_FIELD_KIND_UTF8)
            utf8_printable(value.bytes, value.len, out, cap);
    }
}

static void copy_broker(struct attempt *a)
{
    const amqp_table_t *table = amqp_get_server_properties(a->state);
    char product[64], version[32];
    copy_text(table, "product", product, sizeof product);
    copy_text(table, "version", version, sizeof version);
    snprintf(a->broker, sizeof a->broker, "%s%s%s", product, *version ? " " : "", version);
}

int login(struct attempt *a)
{
    struct timeval left = attempt_time_left(a);
    amqp_set_handshake_timeout(a->state, &left);
    amqp_rpc_reply_t reply = send_login(a);
    secret_free(a->password);
    a->password = NULL;
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        return explain(a, &reply);
    a->heartbeat_s = amqp_get_heartbeat(a->state);
    int frame_max = amqp_get_frame_max(a->state);
    /*
     * The library's heartbeats are switched off, connection.c sends them. With the library's, a
     * publish after a silence of two intervals waits for a frame of the peer, for ever if need be
     * (rabbitmq-c 780, 788).
     */
    if (frame_max < FRAME_MIN || !amqp_release_buffers_ok(a->state) ||
        amqp_tune_connection(a->state, amqp_get_channel_max(a->state), frame_max, 0) !=
            AMQP_STATUS_OK)
        return outbox_fail(&a->err, OUTBOX_E_RETRY, "it offers frames of less than %d bytes",
                           FRAME_MIN);
    copy_broker(a);
    return OUTBOX_OK;
}
