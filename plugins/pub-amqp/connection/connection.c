/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/connection.h"

#include "connection/monotonic.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

/* How long the broker's answer to connection.close may take. */
#define GOODBYE_US 300000
/* After so many frames the library may free or reuse its buffers. */
#define RELEASE_EVERY 64

/* ---- life ---- */

void connection_open(struct connection *conn, struct attempt *attempt, struct watchdog *watchdog,
                     connection_frame_fn on_frame, void *ctx)
{
    int64_t now = now_us();
    *conn = (struct connection){
        .state = attempt->state,
        .watchdog = watchdog,
        .on_frame = on_frame,
        .ctx = ctx,
        .peer = attempt->endpoint->url.parts.hosts[attempt->host].peer,
        .tls = attempt->endpoint->url.tls,
        .fd = amqp_get_sockfd(attempt->state),
        .frame_max = (size_t)amqp_get_frame_max(attempt->state),
        .heartbeat_us = (int64_t)attempt->heartbeat_s * 1000000,
        .opened_us = now,
        .received_us = now,
        .sent_us = now,
    };
    attempt->state = NULL;
    watchdog_watch(watchdog, conn->fd);
}

void connection_fail(struct connection *conn, const char *fmt, ...)
{
    va_list ap;
    if (conn->failed)
        return;
    conn->failed = true;
    if (watchdog_has_fired(conn->watchdog))
        fmt = "it took no more data, and the call's time was over";
    va_start(ap, fmt);
    vsnprintf(conn->why, sizeof conn->why, fmt, ap);
    va_end(ap);
}

void connection_say_goodbye(struct connection *conn)
{
    amqp_connection_close_t close = {.reply_code = 200, .reply_text = bytes_of("bye", 3)};
    struct limits limits = {now_us() + GOODBYE_US, -1};
    if (!conn->failed && !conn->blocked)
        conn->closed = connection_request(conn, 0, AMQP_CONNECTION_CLOSE_METHOD, &close,
                                          AMQP_CONNECTION_CLOSE_OK_METHOD, &limits) == OUTBOX_OK;
}

void connection_close(struct connection *conn)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    if (!conn->state)
        return;
    /* Or else the kernel would go on sending what counts as not sent. */
    if (!conn->closed)
        setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    watchdog_watch(conn->watchdog, -1);
    amqp_destroy_connection(conn->state);
    *conn = (struct connection){.fd = -1};
}

/* ---- in ---- */

static bool has_buffered(const struct connection *conn)
{
    return amqp_data_in_buffer(conn->state) || amqp_frames_enqueued(conn->state);
}

static void receive_frames(struct connection *conn)
{
    const struct timeval no_time = {0, 0};
    bool more = true;
    for (unsigned n = 1; more && !conn->failed; n++) {
        amqp_frame_t frame;
        int status = amqp_simple_wait_frame_noblock(conn->state, &frame, &no_time);
        if (status == AMQP_STATUS_TIMEOUT)
            break;
        if (status != AMQP_STATUS_OK) {
            connection_fail(conn, "%s", amqp_error_string2(status));
            break;
        }
        conn->on_frame(conn->ctx, &frame);
        /* Half a frame pins all buffers, so those of a large message are released one by one. */
        if (n % RELEASE_EVERY == 0 || frame.frame_type == AMQP_FRAME_BODY)
            amqp_maybe_release_buffers(conn->state);
        /* Without TLS only what is buffered is left, and the kernel need not be asked. */
        more = conn->tls || has_buffered(conn);
    }
    if (!conn->failed)
        amqp_maybe_release_buffers(conn->state);
}

static bool is_writable(const struct connection *conn)
{
    struct pollfd fd = {.fd = conn->fd, .events = POLLOUT};
    return poll(&fd, 1, 0) > 0 && (fd.revents & POLLOUT);
}

/*
 * Sends a heartbeat if it is time and there is room. Returns when to look again: when the next one
 * is due, or when a silent broker counts as dead.
 */
static int64_t beat(struct connection *conn, int64_t now)
{
    const amqp_frame_t frame = {.frame_type = AMQP_FRAME_HEARTBEAT, .channel = 0};
    if (conn->heartbeat_us == 0)
        return INT64_MAX;
    /* A broker that has blocked us does not read and does not expect any. */
    if (now >= conn->sent_us + conn->heartbeat_us / 2 && !conn->blocked && is_writable(conn))
        connection_send_frame(conn, &frame);
    int64_t beat_us = conn->sent_us + conn->heartbeat_us / 2;
    int64_t dead_us = conn->received_us + 2 * conn->heartbeat_us;
    if (beat_us <= now)
        beat_us = now + conn->heartbeat_us / 8;
    return earlier(beat_us, dead_us);
}

int connection_wait(struct connection *conn, bool to_write, const struct limits *limits)
{
    struct pollfd fds[] = {
        {.fd = conn->fd, .events = (short)(to_write ? POLLIN | POLLOUT : POLLIN)},
        {.fd = limits->cancel_fd, .events = POLLIN}};
    if (has_buffered(conn)) {
        receive_frames(conn); /* they came with the answer to something else */
        return CONNECTION_RECEIVED;
    }
    for (int got = 0;;) {
        int64_t beat_us = beat(conn, now_us());
        if (conn->failed)
            return CONNECTION_RECEIVED;
        int n = poll(fds, 2, ms_until(earlier(beat_us, limits->until_us)));
        int64_t now = now_us();
        if (n < 0 && errno != EINTR)
            connection_fail(conn, "poll: %s", strerror(errno));
        if (n > 0 && (fds[0].revents & ~POLLOUT)) {
            conn->received_us = now;
            receive_frames(conn);
            got |= CONNECTION_RECEIVED;
        } else if (conn->heartbeat_us > 0 && now > conn->received_us + 2 * conn->heartbeat_us) {
            connection_fail(conn, "no sign of life for %lld s",
                            (long long)((now - conn->received_us) / 1000000));
        }
        if (n > 0 && (fds[0].revents & POLLOUT))
            got |= CONNECTION_WRITABLE;
        if (n > 0 && fds[1].revents)
            got |= CONNECTION_CANCELLED;
        if (got || conn->failed || now >= limits->until_us)
            return got;
    }
}

/* ---- out ---- */

static int sent(struct connection *conn, int status)
{
    if (status != AMQP_STATUS_OK)
        connection_fail(conn, "%s", amqp_error_string2(status));
    conn->sent_us = now_us();
    return conn->failed ? OUTBOX_E_BROKEN : OUTBOX_OK;
}

int connection_send_frame(struct connection *conn, const amqp_frame_t *frame)
{
    return sent(conn, conn->failed ? AMQP_STATUS_OK : amqp_send_frame(conn->state, frame));
}

int connection_send(struct connection *conn, amqp_channel_t channel, amqp_method_number_t id,
                    void *method)
{
    amqp_frame_t frame = {.frame_type = AMQP_FRAME_METHOD, .channel = channel};
    frame.payload.method = (amqp_method_t){.id = id, .decoded = method};
    return connection_send_frame(conn, &frame);
}

static void set_cork(struct connection *conn, int on)
{
    if (conn->collecting != on)
        setsockopt(conn->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
    conn->collecting = on;
}

void connection_collect(struct connection *conn)
{
    set_cork(conn, 1);
}

void connection_flush(struct connection *conn)
{
    set_cork(conn, 0);
}

int connection_request(struct connection *conn, amqp_channel_t channel, amqp_method_number_t id,
                       void *method, amqp_method_number_t answer, const struct limits *limits)
{
    conn->answer = 0;
    connection_flush(conn);
    if (connection_send(conn, channel, id, method) < 0)
        return OUTBOX_E_BROKEN;
    for (;;) {
        int got = connection_wait(conn, false, limits);
        if (conn->answer == answer)
            return OUTBOX_OK;
        if (conn->failed)
            return OUTBOX_E_BROKEN;
        if (channel != 0 && conn->answer == AMQP_CHANNEL_CLOSE_METHOD)
            return OUTBOX_E_CONFIG;
        if (conn->blocked)
            return OUTBOX_E_RETRY;
        if (got & CONNECTION_CANCELLED)
            return OUTBOX_E_CANCELLED;
        if (now_us() >= limits->until_us)
            return OUTBOX_E_TIMEOUT;
    }
}
