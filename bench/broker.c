/* SPDX-License-Identifier: Apache-2.0 */
#include "broker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

double cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

void fail(const char *what)
{
    fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

static amqp_bytes_t text(const char *s)
{
    return amqp_cstring_bytes(s);
}

amqp_connection_state_t broker_connect(const char *url)
{
    struct amqp_connection_info info;
    char *copy = strdup(url);
    amqp_default_connection_info(&info);
    if (!copy || amqp_parse_url(copy, &info) != AMQP_STATUS_OK)
        fail("not an amqp:// URL");
    amqp_connection_state_t c = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(c);
    if (amqp_socket_open(socket, info.host, info.port) != AMQP_STATUS_OK)
        fail("cannot connect to the broker");
    if (amqp_login(c, info.vhost, 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, info.user, info.password)
            .reply_type != AMQP_RESPONSE_NORMAL)
        fail("cannot log in to the broker");
    amqp_channel_open(c, 1);
    amqp_confirm_select(c, 1);
    if (amqp_get_rpc_reply(c).reply_type != AMQP_RESPONSE_NORMAL)
        fail("no channel");
    free(copy);
    return c;
}

void broker_declare(const char *url, const char *queue, const char *type)
{
    amqp_connection_state_t c = broker_connect(url);
    amqp_table_entry_t entry = {.key = text("x-queue-type")};
    entry.value.kind = AMQP_FIELD_KIND_UTF8;
    entry.value.value.bytes = text(type);
    amqp_queue_delete(c, 1, text(queue), 0, 0);
    amqp_queue_declare(c, 1, text(queue), 0, 1, 0, 0, (amqp_table_t){1, &entry});
    if (amqp_get_rpc_reply(c).reply_type != AMQP_RESPONSE_NORMAL)
        fail("cannot declare the queue");
    amqp_destroy_connection(c);
}

void broker_publish(amqp_connection_state_t c, const char *queue, const char *id,
                    const void *payload, size_t n)
{
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG |
                                           AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_TYPE_FLAG |
                                           AMQP_BASIC_TIMESTAMP_FLAG,
                                 .delivery_mode = 2,
                                 .timestamp = 1};
    p.message_id = text(id);
    p.type = text("bench");
    if (amqp_basic_publish(c, 1, text(""), text(queue), 1, 0, &p,
                           (amqp_bytes_t){n, (void *)(uintptr_t)payload}) != AMQP_STATUS_OK)
        fail("cannot publish");
}

void broker_confirm(amqp_connection_state_t c, uint64_t sent, uint64_t *confirmed, uint64_t window)
{
    while (sent - *confirmed >= window) {
        amqp_frame_t frame;
        if (amqp_simple_wait_frame(c, &frame) != AMQP_STATUS_OK)
            fail("the connection to the broker is lost");
        if (frame.frame_type != AMQP_FRAME_METHOD ||
            frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
            fail("not an ack");
        const amqp_basic_ack_t *ack = frame.payload.method.decoded;
        /* Confirms are disordered only if there are several queues. */
        *confirmed = ack->delivery_tag > *confirmed ? ack->delivery_tag : *confirmed;
        amqp_maybe_release_buffers(c);
    }
}
