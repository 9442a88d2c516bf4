/* SPDX-License-Identifier: Apache-2.0 */
/*
 * permission.c - the broker looks at permissions when something is published, and not before. So an
 * empty message is published in a transaction, which is rolled back: it reaches no queue.
 */
#include "permission.h"

#include "session.h"

#include <outbox/helpers.h>

static const char what[] = "cannot publish there";

static void send_empty(struct amqp *a)
{
    const char *key = a->settings.key.fixed ? a->settings.key.text : NULL;
    amqp_basic_properties_t none = {0};
    amqp_basic_publish_t publish = {.exchange = amqp_cstring_bytes(a->settings.exchange.text),
                                    .routing_key = amqp_cstring_bytes(key ? key : "")};
    amqp_frame_t header = {.frame_type = AMQP_FRAME_HEADER, .channel = CHANNEL};
    header.payload.properties.class_id = AMQP_BASIC_CLASS;
    header.payload.properties.decoded = &none;
    if (connection_send(&a->connection, CHANNEL, AMQP_BASIC_PUBLISH_METHOD, &publish) == OUTBOX_OK)
        connection_send_frame(&a->connection, &header);
}

/* False: this broker has no transactions, or something failed that *ret and *err tell. */
static bool begin(struct amqp *a, const struct limits *limits, int *ret, struct outbox_err *err)
{
    amqp_channel_open_t open = {.out_of_band = {0, NULL}};
    amqp_tx_select_t select = {0};
    *ret = session_close_channel(a, limits, err);
    if (*ret == 0)
        *ret = session_request(a, AMQP_CHANNEL_OPEN_METHOD, &open, AMQP_CHANNEL_OPEN_OK_METHOD,
                               what, limits, err);
    if (*ret < 0)
        return false;
    int r = session_request(a, AMQP_TX_SELECT_METHOD, &select, AMQP_TX_SELECT_OK_METHOD, what,
                            limits, err);
    if (r == OUTBOX_E_TIMEOUT || r == OUTBOX_E_CANCELLED)
        *ret = r;
    else if (r < 0 && a->connection.failed)
        session_close(a);
    return r == OUTBOX_OK;
}

int permission_check(struct amqp *a, const struct limits *limits, struct outbox_err *err)
{
    amqp_tx_rollback_t rollback = {0};
    struct outbox_err why = {.size = sizeof why};
    int r;
    if (!begin(a, limits, &r, err))
        return r;
    send_empty(a);
    r = session_request(a, AMQP_TX_ROLLBACK_METHOD, &rollback, AMQP_TX_ROLLBACK_OK_METHOD, what,
                        limits, &why);
    if (r == OUTBOX_OK) {
        a->channel.open = true;
        return session_close_channel(a, limits, err);
    }
    const struct reply *reply = &a->channel.reply;
    if (r != OUTBOX_E_CONFIG)
        return outbox_fail(err, r, "%s", why.text);
    /* For a routing key that comes from the message another answer would say nothing. */
    if (reply_code_cause(reply, true, a->settings.key.fixed) != CAUSE_CONFIGURATION)
        return OUTBOX_OK;
    return outbox_fail(err, r, "%.380s%s", why.text, reply_code_advice(reply->code));
}
