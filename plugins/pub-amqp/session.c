/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include "connection/monotonic.h"
#include "permission.h"
#include "sign_in.h"

#include <outbox/helpers.h>

#include <stdio.h>

void session_close(struct amqp *a)
{
    connection_close(&a->connection);
    roster_leave(&a->member);
    a->channel = (struct channel){0};
    window_reset(&a->window);
}

/* ---- the channel ---- */

int session_request(struct amqp *a, amqp_method_number_t id, void *method,
                    amqp_method_number_t answer, const char *what, const struct limits *limits,
                    struct outbox_err *err)
{
    struct connection *conn = &a->connection;
    const struct reply *reply = &a->channel.reply;
    int r = connection_request(conn, CHANNEL, id, method, answer, limits);
    switch (r) {
    case OUTBOX_OK:
        return r;
    case OUTBOX_E_BROKEN:
        /* Whether it was an outage or too little time is for the host to judge. */
        return outbox_fail(err,
                           watchdog_has_fired(conn->watchdog) ? OUTBOX_E_TIMEOUT : OUTBOX_E_RETRY,
                           "%s: %s", conn->peer, conn->why);
    case OUTBOX_E_CONFIG:
        return outbox_fail(err, reply_code_is_final(reply->code) ? r : OUTBOX_E_RETRY,
                           "%s: %s: %u %s", conn->peer, what, reply->code, reply->text);
    case OUTBOX_E_RETRY:
        a->channel.open = a->channel.stale = true; /* the answer comes when the alarm is over */
        return outbox_fail(err, r, "%s", conn->blocked_why);
    case OUTBOX_E_CANCELLED:
        connection_fail(conn, "cancelled"); /* the answer is still to come */
        return outbox_fail(err, r, "cancelled");
    default:
        connection_fail(conn, "no answer");
        return outbox_fail(err, r, "%s: %s: no answer in time", conn->peer, what);
    }
}

int session_open_channel(struct amqp *a, const struct limits *limits, struct outbox_err *err)
{
    static const char what[] = "cannot open a channel";
    amqp_channel_open_t open = {.out_of_band = {0, NULL}};
    amqp_confirm_select_t confirm = {.nowait = 0};
    window_reset(&a->window);
    int r = session_request(a, AMQP_CHANNEL_OPEN_METHOD, &open, AMQP_CHANNEL_OPEN_OK_METHOD, what,
                            limits, err);
    if (r == 0)
        r = session_request(a, AMQP_CONFIRM_SELECT_METHOD, &confirm, AMQP_CONFIRM_SELECT_OK_METHOD,
                            what, limits, err);
    if (r < 0)
        return r;
    a->channel.open = true;
    a->channel.stale = false;
    return OUTBOX_OK;
}

int session_close_channel(struct amqp *a, const struct limits *limits, struct outbox_err *err)
{
    amqp_channel_close_t close = {.reply_code = AMQP_REPLY_SUCCESS};
    if (!a->channel.open)
        return OUTBOX_OK;
    a->channel.open = a->channel.paused = false;
    return session_request(a, AMQP_CHANNEL_CLOSE_METHOD, &close, AMQP_CHANNEL_CLOSE_OK_METHOD,
                           "cannot close a channel", limits, err);
}

/* How many there are. `max_age` is for a text of theirs. */
static int queue_arguments(const struct settings *s, char *max_age, size_t cap,
                           amqp_table_entry_t ret[3])
{
    int n = 0;
    ret[n++] = table_text("x-queue-type", s->queue_type);
    if (s->stream_max_bytes > 0) {
        ret[n].key = amqp_cstring_bytes("x-max-length-bytes");
        ret[n].value.kind = AMQP_FIELD_KIND_I64;
        ret[n++].value.value.i64 = s->stream_max_bytes;
    }
    if (s->stream_max_age_s > 0) {
        snprintf(max_age, cap, "%llds", (long long)s->stream_max_age_s);
        ret[n++] = table_text("x-max-age", max_age);
    }
    return n;
}

/* Passive: only finds out whether it is there. */
static int request_declare(struct amqp *a, bool passive, const struct limits *limits,
                           struct outbox_err *err)
{
    const struct settings *s = &a->settings;
    const amqp_bytes_t name = amqp_cstring_bytes(settings_destination(s)->text);
    if (!s->queue_mode) {
        amqp_exchange_declare_t declare = {.exchange = name,
                                           .type = amqp_cstring_bytes(s->exchange_type),
                                           .passive = passive,
                                           .durable = 1};
        return session_request(
            a, AMQP_EXCHANGE_DECLARE_METHOD, &declare, AMQP_EXCHANGE_DECLARE_OK_METHOD,
            passive ? "cannot use the exchange" : "cannot declare the exchange", limits, err);
    }
    char max_age[32];
    amqp_table_entry_t arguments[3];
    amqp_queue_declare_t declare = {
        .queue = name,
        .passive = passive,
        .durable = 1,
        .arguments = {queue_arguments(s, max_age, sizeof max_age, arguments), arguments}};
    return session_request(a, AMQP_QUEUE_DECLARE_METHOD, &declare, AMQP_QUEUE_DECLARE_OK_METHOD,
                           passive ? "cannot use the queue" : "cannot declare the queue", limits,
                           err);
}

static int declare(struct amqp *a, bool passive, const struct limits *limits,
                   struct outbox_err *err)
{
    struct outbox_err why = {.size = sizeof why};
    int r = request_declare(a, passive, limits, &why);
    if (r == 0)
        return r;
    bool differs = r == OUTBOX_E_CONFIG && a->channel.reply.code == AMQP_PRECONDITION_FAILED;
    return outbox_fail(err, r, "%.380s%s", why.text,
                       differs ? "; it exists, and is another one than `declare = create` would "
                                 "make: use declare = passive, or delete it first"
                               : "");
}

/* ---- all together ---- */

void session_catch_up(struct amqp *a)
{
    const struct limits now = {0, -1};
    struct connection *conn = &a->connection;
    if (!conn->state)
        return;
    connection_wait(conn, false, &now);
    const struct sent *oldest = window_oldest(&a->window);
    if (oldest && !conn->blocked && now_us() > oldest->at_us + a->settings.confirm_us)
        connection_fail(conn, "no confirm within confirm_timeout");
    if (!conn->failed)
        return;
    outbox_logf(a->host, OUTBOX_LOG_INFO, "the connection to %s is lost: %s", conn->peer,
                conn->why);
    session_close(a);
}

/* Opens the channel and finds or makes the destination, both in connect_timeout. */
static int prepare_channel(struct amqp *a, const struct limits *limits, struct outbox_err *err)
{
    int64_t until_us = now_us() + a->settings.connect_us;
    const struct limits soon = {earlier(limits->until_us, until_us), limits->cancel_fd};
    int r = OUTBOX_OK;
    if (a->channel.stale)
        r = session_close_channel(a, &soon, err);
    if (r == 0 && !a->channel.open)
        r = session_open_channel(a, &soon, err);
    if (r == 0 && !a->channel.declared && a->settings.declare != DECLARE_NONE) {
        r = declare(a, a->settings.declare == DECLARE_PASSIVE, &soon, err);
        a->channel.declared = r == 0;
    }
    /* A call that ends earlier says nothing about the broker. */
    if (r == OUTBOX_E_TIMEOUT && until_us <= limits->until_us)
        r = err->code = OUTBOX_E_RETRY;
    return r;
}

int session_ready(struct amqp *a, const struct limits *limits, struct outbox_err *err)
{
    const struct connection *conn = &a->connection;
    int r = OUTBOX_OK;
    session_catch_up(a);
    bool is_new = !conn->state;
    if (is_new)
        r = sign_in(a, limits, err);
    if (r == 0 && conn->blocked)
        return outbox_fail(err, OUTBOX_E_RETRY, "%s", conn->blocked_why);
    if (r == 0)
        r = prepare_channel(a, limits, err);
    if (r == 0 || !conn->failed)
        return r;
    bool turned_away = is_new && conn->closed;
    session_close(a);
    return turned_away ? sign_in_turned_away(a, r, err) : r;
}

int session_check_destination(struct amqp *a, const struct limits *limits, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    if (!settings_destination(&a->settings)->fixed)
        return r;
    if (a->settings.declare == DECLARE_NONE)
        r = declare(a, true, limits, err);
    return r < 0 ? r : permission_check(a, limits, err);
}
