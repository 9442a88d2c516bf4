/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include "connection/connect.h"
#include "connection/monotonic.h"
#include "publish/frames.h"

#include <outbox/helpers.h>

/* An attempt that hangs in spite of its own deadline gets so much more time, or a tenth of it. */
#define HANG_US 50000

void session_close(struct amqp *a)
{
    connection_close(&a->connection);
    a->channel = (struct channel){0};
    window_reset(&a->window);
}

/* ---- connecting ---- */

static void take_over(struct amqp *a, struct attempt *attempt)
{
    connection_open(&a->connection, attempt, &a->watchdog, frames_receive, a);
    a->next_host = attempt->host;
    a->host->count(a->host, "amqp_connects_total", 1);
    outbox_logf(a->host, OUTBOX_LOG_INFO, "connected to %s%s%s%s, heartbeat %d s",
                a->connection.peer, *attempt->broker ? " (" : "", attempt->broker,
                *attempt->broker ? ")" : "", attempt->heartbeat_s);
}

static int connect_to(struct amqp *a, size_t host, int64_t us, const struct limits *limits,
                      bool *ret_refused, struct outbox_err *err)
{
    const char *peer = a->settings.endpoint->url.hosts[host].peer;
    int64_t hang_us = earlier(us / 10, HANG_US);
    int64_t end_us = earlier(now_us() + us + hang_us, limits->until_us);
    struct attempt *attempt = attempt_new(a->settings.endpoint, host, end_us - hang_us);
    if (!attempt)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    int r = timed_call_run(a->connecting[host], connect_run, attempt_free, attempt,
                           ms_until(end_us), limits->cancel_fd);
    if (r == OUTBOX_E_CANCELLED)
        return outbox_fail(err, r, "cancelled");
    if (r == OUTBOX_E_TIMEOUT)
        return outbox_fail(err, OUTBOX_E_RETRY, "cannot connect to %s: no answer in time", peer);
    /* It is ours again. */
    const char *why = r == OUTBOX_E_BROKEN
                          ? "an earlier attempt still hangs, perhaps in the resolution of its name"
                      : r < 0 ? "no thread for it"
                              : attempt->err.text;
    r = r < 0 ? OUTBOX_E_RETRY : attempt->err.code;
    if (r < 0)
        outbox_fail(err, r, "cannot connect to %s: %s", peer, why);
    else
        take_over(a, attempt);
    *ret_refused = attempt->login_refused;
    attempt_free(attempt);
    return r;
}

/* Tries the hosts in turn, beginning with the one that was connected last. */
static int connect_any(struct amqp *a, const struct limits *limits, struct outbox_err *err)
{
    size_t n = a->settings.endpoint->url.n_hosts, first = a->next_host;
    bool refused = false;
    int r = OUTBOX_E_RETRY;
    for (size_t i = 0; i < n && !refused; i++) {
        int64_t now = now_us();
        /* Each gets a share, so that one that does not answer leaves time for the others. */
        int64_t share = (limits->until_us - now) / (int64_t)(n - i);
        int64_t us = earlier(share, a->settings.connect_us);
        if (us <= 0)
            return i > 0 ? r : outbox_fail(err, OUTBOX_E_TIMEOUT, "there was no time to connect");
        r = connect_to(a, (first + i) % n, us, limits, &refused, err);
        /* With all of connect_timeout it might have answered: that says nothing about the host. */
        if (r == OUTBOX_E_RETRY && share < a->settings.connect_us && now_us() >= now + us - HANG_US)
            r = err->code = OUTBOX_E_TIMEOUT;
        if (r == OUTBOX_OK || r == OUTBOX_E_CANCELLED)
            return r;
        if (n > 1 && i + 1 < n)
            outbox_logf(a->host, OUTBOX_LOG_INFO, "%s; trying the next host", err->text);
    }
    a->next_host = refused ? first : (first + 1) % n;
    return r;
}

/* ---- the channel ---- */

/* `what` is for people: "cannot open a channel". */
static int request(struct amqp *a, amqp_method_number_t id, void *method,
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
    int r =
        request(a, AMQP_CHANNEL_OPEN_METHOD, &open, AMQP_CHANNEL_OPEN_OK_METHOD, what, limits, err);
    if (r == 0)
        r = request(a, AMQP_CONFIRM_SELECT_METHOD, &confirm, AMQP_CONFIRM_SELECT_OK_METHOD, what,
                    limits, err);
    a->channel.open = r == 0;
    return r;
}

/* Passive: only finds out whether it is there. */
static int declare(struct amqp *a, bool passive, const struct limits *limits,
                   struct outbox_err *err)
{
    const struct settings *s = &a->settings;
    const amqp_bytes_t name = amqp_cstring_bytes(settings_destination(s)->fixed);
    if (!s->queue_mode) {
        amqp_exchange_declare_t declare = {.exchange = name,
                                           .type = amqp_cstring_bytes(s->exchange_type),
                                           .passive = passive,
                                           .durable = 1};
        return request(a, AMQP_EXCHANGE_DECLARE_METHOD, &declare, AMQP_EXCHANGE_DECLARE_OK_METHOD,
                       passive ? "cannot use the exchange" : "cannot declare the exchange", limits,
                       err);
    }
    amqp_table_entry_t type = table_text("x-queue-type", s->quorum ? "quorum" : "classic");
    amqp_queue_declare_t declare = {
        .queue = name, .passive = passive, .durable = 1, .arguments = {1, &type}};
    return request(a, AMQP_QUEUE_DECLARE_METHOD, &declare, AMQP_QUEUE_DECLARE_OK_METHOD,
                   passive ? "cannot use the queue" : "cannot declare the queue", limits, err);
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

int session_ready(struct amqp *a, const struct limits *limits, struct outbox_err *err)
{
    const struct connection *conn = &a->connection;
    int r = OUTBOX_OK;
    session_catch_up(a);
    if (!conn->state)
        r = connect_any(a, limits, err);
    if (r == 0 && conn->blocked)
        return outbox_fail(err, OUTBOX_E_RETRY, "%s takes no messages for now: %s", conn->peer,
                           conn->blocked_why);
    if (r == 0 && !a->channel.open)
        r = session_open_channel(a, limits, err);
    if (r == 0 && !a->channel.declared && a->settings.declare != DECLARE_NONE) {
        r = declare(a, a->settings.declare == DECLARE_PASSIVE, limits, err);
        a->channel.declared = r == 0;
    }
    if (r < 0 && conn->failed)
        session_close(a);
    return r;
}

int session_check_destination(struct amqp *a, const struct limits *limits, struct outbox_err *err)
{
    if (a->settings.declare != DECLARE_NONE || !settings_destination(&a->settings)->fixed)
        return OUTBOX_OK;
    return declare(a, true, limits, err);
}
