/* SPDX-License-Identifier: Apache-2.0 */
#include "publish/frames.h"

#include "common/utf8.h"
#include "connection/monotonic.h"
#include "publish/outcome.h"
#include "publisher.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <string.h>

static void copy_text(amqp_bytes_t from, char *out, size_t cap)
{
    utf8_printable(from.bytes, from.len, out, cap);
}

static void protocol_error(struct amqp *a, const char *what)
{
    a->host->count(a->host, "amqp_protocol_errors_total", 1);
    connection_fail(&a->connection, "the broker broke the protocol: %s", what);
}

/* ---- the connection ---- */

static void connection_closed(struct amqp *a, const amqp_connection_close_t *close)
{
    amqp_connection_close_ok_t ok = {0};
    char text[REPLY_TEXT_MAX];
    copy_text(close->reply_text, text, sizeof text);
    a->connection.closed = amqp_send_method(a->connection.state, 0, AMQP_CONNECTION_CLOSE_OK_METHOD,
                                            &ok) == AMQP_STATUS_OK;
    connection_fail(&a->connection, "the broker closed the connection: %d %s", close->reply_code,
                    text);
}

static void blocked(struct amqp *a, const amqp_connection_blocked_t *blocked)
{
    struct connection *conn = &a->connection;
    char reason[sizeof conn->blocked_why - 64];
    copy_text(blocked->reason, reason, sizeof reason);
    snprintf(conn->blocked_why, sizeof conn->blocked_why,
             "the broker takes no messages for now: %s", reason);
    conn->blocked = true;
    a->host->count(a->host, "amqp_blocked_total", 1);
    outbox_logf(a->host, OUTBOX_LOG_WARNING, "%s: %s", conn->peer, conn->blocked_why);
}

static void unblocked(struct amqp *a)
{
    a->connection.blocked = false;
    /* The broker only now begins to read what was sent meanwhile. */
    window_restart(&a->window, now_us());
    outbox_logf(a->host, OUTBOX_LOG_INFO, "%s takes messages again", a->connection.peer);
}

static void receive_connection_method(struct amqp *a, const amqp_method_t *method)
{
    switch (method->id) {
    case AMQP_CONNECTION_CLOSE_METHOD:
        connection_closed(a, method->decoded);
        break;
    case AMQP_CONNECTION_BLOCKED_METHOD:
        blocked(a, method->decoded);
        break;
    case AMQP_CONNECTION_UNBLOCKED_METHOD:
        unblocked(a);
        break;
    default:
        a->connection.answer = method->id;
    }
}

/* ---- the channel ---- */

static void channel_closed(struct amqp *a, const amqp_channel_close_t *close)
{
    struct channel *ch = &a->channel;
    amqp_channel_close_ok_t ok = {0};
    ch->open = ch->paused = false;
    ch->returned_code = 0;
    ch->reply = (struct reply){
        .code = close->reply_code, .class_id = close->class_id, .method_id = close->method_id};
    copy_text(close->reply_text, ch->reply.text, sizeof ch->reply.text);
    a->host->count(a->host, "amqp_channel_errors_total", 1);
    a->connection.answer = AMQP_CHANNEL_CLOSE_METHOD;
    ch->owes_close_ok = ch->in_body;
    if (!ch->in_body)
        connection_send(&a->connection, CHANNEL, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
}

static void channel_flow(struct amqp *a, const amqp_channel_flow_t *flow)
{
    amqp_channel_flow_ok_t ok = {.active = flow->active};
    a->channel.paused = !flow->active;
    connection_send(&a->connection, CHANNEL, AMQP_CHANNEL_FLOW_OK_METHOD, &ok);
}

static void confirmed(struct amqp *a, uint64_t tag, bool multiple, bool ack)
{
    const char *wrong = window_confirm(&a->window, tag, multiple, ack, outcome_confirmed, a);
    a->channel.confirms++;
    if (wrong)
        protocol_error(a, wrong);
}

/* ---- a message that comes back: a method, a header, and a body that says nothing new ---- */

static void return_begins(struct amqp *a, const amqp_basic_return_t *back)
{
    a->channel.returned_code = back->reply_code;
    copy_text(back->reply_text, a->channel.returned_text, sizeof a->channel.returned_text);
}

static void return_header(struct amqp *a, const amqp_basic_properties_t *properties)
{
    struct channel *ch = &a->channel;
    struct sent *sent = NULL;
    if (properties->_flags & AMQP_BASIC_MESSAGE_ID_FLAG)
        sent = window_find(&a->window,
                           window_hash(properties->message_id.bytes, properties->message_id.len));
    /* A returned message that is not known may be any of them, and would count as delivered. */
    const char *wrong = ch->returned_code == 0 ? "it sent a content header without a method"
                        : !sent          ? "it returned a message with an id that is not under way"
                        : sent->returned ? "it returned a message twice"
                                         : NULL;
    if (wrong) {
        protocol_error(a, wrong);
        return;
    }
    sent->returned = true;
    a->host->count(a->host, "amqp_returned_total", 1);
    outcome_returned(a, sent, ch->returned_code, ch->returned_text);
    ch->returned_code = 0;
}

/* ---- all of them ---- */

static void receive_channel_method(struct amqp *a, const amqp_method_t *method)
{
    const amqp_basic_ack_t *ack = method->decoded;
    const amqp_basic_nack_t *nack = method->decoded;
    if (!a->channel.open &&
        (method->id == AMQP_BASIC_ACK_METHOD || method->id == AMQP_BASIC_NACK_METHOD ||
         method->id == AMQP_BASIC_RETURN_METHOD))
        return; /* it was on its way when the channel was closed */
    switch (method->id) {
    case AMQP_BASIC_ACK_METHOD:
        confirmed(a, ack->delivery_tag, ack->multiple, true);
        break;
    case AMQP_BASIC_NACK_METHOD:
        confirmed(a, nack->delivery_tag, nack->multiple, false);
        break;
    case AMQP_BASIC_RETURN_METHOD:
        return_begins(a, method->decoded);
        break;
    case AMQP_CHANNEL_CLOSE_METHOD:
        channel_closed(a, method->decoded);
        break;
    case AMQP_CHANNEL_FLOW_METHOD:
        channel_flow(a, method->decoded);
        break;
    default:
        a->connection.answer = method->id;
    }
}

void frames_receive(void *amqp, const amqp_frame_t *frame)
{
    struct amqp *a = amqp;
    if (frame->frame_type == AMQP_FRAME_METHOD && frame->channel == 0)
        receive_connection_method(a, &frame->payload.method);
    else if (frame->frame_type == AMQP_FRAME_HEARTBEAT || frame->channel != CHANNEL)
        return;
    else if (frame->frame_type == AMQP_FRAME_METHOD)
        receive_channel_method(a, &frame->payload.method);
    else if (!a->channel.open)
        return; /* of a message that came back before the channel was closed */
    else if (frame->frame_type == AMQP_FRAME_HEADER)
        return_header(a, frame->payload.properties.decoded);
}
