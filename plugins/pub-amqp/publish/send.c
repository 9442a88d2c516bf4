/* SPDX-License-Identifier: Apache-2.0 */
/*
 * send.c - not by amqp_basic_publish, which marks a body that fills its last frame as "more to
 * come", so that the kernel holds it back for 200 ms, and which takes nothing in meanwhile.
 */
#include "publish/send.h"

#include "connection/monotonic.h"
#include "publisher.h"

/* Waits for room for the next piece of a body. False: it must not be sent. */
static bool wait_for_room(struct call *c)
{
    struct connection *conn = &c->a->connection;
    for (;;) {
        int got = connection_wait(conn, !conn->blocked, &c->limits);
        if (conn->failed)
            return false;
        if (got & CONNECTION_CANCELLED)
            call_cancel(c);
        if (now_us() >= c->limits.until_us) {
            connection_fail(conn,
                            "it took only a part of a message before the call's time was over");
            return false;
        }
        if ((got & CONNECTION_WRITABLE) && !conn->blocked)
            return true;
    }
}

static void send_body(struct call *c, const struct publication *p)
{
    struct connection *conn = &c->a->connection;
    size_t piece = conn->frame_max - FRAME_OVERHEAD;
    for (size_t at = 0; at < p->body.len; at += piece) {
        amqp_frame_t body = {.frame_type = AMQP_FRAME_BODY, .channel = CHANNEL};
        body.payload.body_fragment = bytes_of((const char *)p->body.bytes + at,
                                              p->body.len - at < piece ? p->body.len - at : piece);
        /* Between the pieces all else goes on: confirms, heartbeats, alarms, deadlines. */
        if ((at > 0 && !wait_for_room(c)) || connection_send_frame(conn, &body) < 0)
            return;
    }
}

/* A body is sent to its end though the channel is closed meanwhile: until the broker knows itself
 * that it is, another frame than one of the body would be an error of the whole connection. */
void send_publication(struct call *c, const struct publication *p)
{
    struct channel *ch = &c->a->channel;
    struct connection *conn = &c->a->connection;
    amqp_channel_close_ok_t ok = {0};
    amqp_basic_publish_t method = {
        .exchange = p->exchange, .routing_key = p->key, .mandatory = c->a->settings.mandatory};
    amqp_frame_t header = {.frame_type = AMQP_FRAME_HEADER, .channel = CHANNEL};
    header.payload.properties.class_id = AMQP_BASIC_CLASS;
    header.payload.properties.body_size = p->body.len;
    header.payload.properties.decoded = (void *)(uintptr_t)&p->properties;
    if (connection_send(conn, CHANNEL, AMQP_BASIC_PUBLISH_METHOD, &method) < 0 ||
        connection_send_frame(conn, &header) < 0)
        return;
    ch->in_body = true;
    send_body(c, p);
    ch->in_body = false;
    if (ch->owes_close_ok && !conn->failed)
        connection_send(conn, CHANNEL, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
    ch->owes_close_ok = false;
}
