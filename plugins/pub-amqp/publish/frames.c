/* SPDX-License-Identifier: Apache-2.0 */
/* frames.c - what the broker says, frame by frame. */
#include "common/utf8.h"
#include "connection/monotonic.h"
#include "publish/call.h"
#include "publisher.h"

#include <stdio.h>
#include <string.h>

static void copy_text(amqp_bytes_t from, char *out, size_t cap)
{
    utf8_printable(from.bytes, from.len, out, cap);
}

static void protocol_error(struct amqp *a, const char *what)
{
    a->host->count(a->host, "amqp_protocol_errors_total", 1);
    link_die(a, "the broker broke the protocol: %s", what);
}

/* ---- the connection ---- */

static void connection_closed(struct amqp *a, const amqp_connection_close_t *close)
{
    amqp_connection_close_ok_t ok = {0};
    char text[REPLY_TEXT_MAX];
    copy_text(close->reply_text, text, sizeof text);
    amqp_send_method(a->link.c, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
    a->link.parted = true;
    link_die(a, "the broker closed the connection: %d %s", close->reply_code, text);
}

static void blocked(struct amqp *a, const amqp_connection_blocked_t *blocked)
{
    struct link *l = &a->link;
    char peer[300];
    copy_text(blocked->reason, l->alarm, sizeof l->alarm);
    l->blocked = true;
    a->host->count(a->host, "amqp_blocked_total", 1);
    outbox_logf(a->host, OUTBOX_LOG_WARNING, "%s takes no messages for now: %s", link_peer(a, peer),
                l->alarm);
}

static void unblocked(struct amqp *a)
{
    char peer[300];
    a->link.blocked = false;
    /* What waited with the broker is only now on its way. */
    window_restart(&a->window, now_us());
    outbox_logf(a->host, OUTBOX_LOG_INFO, "%s takes messages again", link_peer(a, peer));
}

static void take_connection_method(struct amqp *a, const amqp_method_t *method)
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
        a->link.answer = method->id;
    }
}

/* ---- the channel ---- */

static void channel_closed(struct amqp *a, const amqp_channel_close_t *close)
{
    struct link *l = &a->link;
    amqp_channel_close_ok_t ok = {0};
    l->channel = false;
    l->refused = true;
    l->stopped = false;
    l->returned.open = false;
    l->reply = (struct reply){
        .code = close->reply_code, .class_id = close->class_id, .method_id = close->method_id};
    copy_text(close->reply_text, l->reply.text, sizeof l->reply.text);
    a->host->count(a->host, "amqp_channel_errors_total", 1);
    link_send(a, CHANNEL, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
}

static void channel_flow(struct amqp *a, const amqp_channel_flow_t *flow)
{
    amqp_channel_flow_ok_t ok = {.active = flow->active};
    a->link.stopped = !flow->active;
    link_send(a, CHANNEL, AMQP_CHANNEL_FLOW_OK_METHOD, &ok);
}

static void confirmed(struct amqp *a, uint64_t tag, bool multiple, bool ack)
{
    const char *wrong = window_confirm(&a->window, tag, multiple, ack, call_settled, a);
    a->link.confirms++;
    a->link.proven = true;
    if (wrong)
        protocol_error(a, wrong);
}

/* ---- a message that comes back ---- */

static void return_begins(struct amqp *a, const amqp_basic_return_t *back)
{
    struct link *l = &a->link;
    l->returned.open = l->returned.headless = true;
    l->returned.code = back->reply_code;
    copy_text(back->reply_text, l->returned.text, sizeof l->returned.text);
}

static void return_header(struct amqp *a, const amqp_frame_t *frame)
{
    struct link *l = &a->link;
    const amqp_basic_properties_t *properties = frame->payload.properties.decoded;
    if (!l->returned.open || !l->returned.headless) {
        protocol_error(a, "a content header that nothing announced");
        return;
    }
    l->returned.headless = false;
    l->returned.left = frame->payload.properties.body_size;
    l->returned.open = l->returned.left > 0;
    struct sent *sent = NULL;
    if (properties->_flags & AMQP_BASIC_MESSAGE_ID_FLAG)
        sent = window_find(&a->window,
                           window_hash(properties->message_id.bytes, properties->message_id.len));
    /* Without knowing which one it was, each of them could be taken for delivered. */
    if (!sent) {
        protocol_error(a, "it returned a message with an id that is not under way");
        return;
    }
    if (sent->returned) {
        protocol_error(a, "it returned a message twice");
        return;
    }
    sent->returned = true;
    a->host->count(a->host, "amqp_returned_total", 1);
    call_returned(a, sent, l->returned.code, l->returned.text);
}

static void return_body(struct amqp *a, const amqp_frame_t *frame)
{
    struct link *l = &a->link;
    size_t n = frame->payload.body_fragment.len;
    if (!l->returned.open || l->returned.headless || n > l->returned.left) {
        protocol_error(a, "a piece of a message that nothing announced");
        return;
    }
    l->returned.left -= n;
    l->returned.open = l->returned.left > 0;
}

/* ---- all of them ---- */

static void take_channel_method(struct amqp *a, const amqp_method_t *method)
{
    const amqp_basic_ack_t *ack = method->decoded;
    const amqp_basic_nack_t *nack = method->decoded;
    if (!a->link.channel &&
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
        a->link.answer = method->id;
    }
}

void event_take(struct amqp *a, const amqp_frame_t *frame)
{
    if (frame->frame_type == AMQP_FRAME_METHOD && frame->channel == 0)
        take_connection_method(a, &frame->payload.method);
    else if (frame->frame_type == AMQP_FRAME_HEARTBEAT || frame->channel != CHANNEL)
        return;
    else if (frame->frame_type == AMQP_FRAME_METHOD)
        take_channel_method(a, &frame->payload.method);
    else if (!a->link.channel)
        return; /* of a message that came back before the channel was closed */
    else if (frame->frame_type == AMQP_FRAME_HEADER)
        return_header(a, frame);
    else if (frame->frame_type == AMQP_FRAME_BODY)
        return_body(a, frame);
}
