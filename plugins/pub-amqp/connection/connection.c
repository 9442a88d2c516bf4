/* SPDX-License-Identifier: Apache-2.0 */
/* connection.c - frames out and in on the connection, with heartbeats, and never for ever. */
#include "connection/monotonic.h"
#include "publisher.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

/* For the broker's goodbye. */
#define GOODBYE_US 300000
/* Frames between giving the library its buffers back. */
#define RELEASE_EVERY 64

const char *link_peer(const struct amqp *a, char out[300])
{
    const struct url_host *host = &a->target->url.hosts[a->link.host];
    snprintf(out, 300, strchr(host->name, ':') ? "[%s]:%u" : "%s:%u", host->name, host->port);
    return out;
}

/* ---- life ---- */

void link_open(struct amqp *a, amqp_connection_state_t c, size_t host, int heartbeat_s)
{
    int64_t now = now_us();
    a->link = (struct link){
        .c = c,
        .fd = amqp_get_sockfd(c),
        .host = host,
        .frame_max = (size_t)amqp_get_frame_max(c),
        .heartbeat_us = (int64_t)heartbeat_s * 1000000,
        .heard_us = now,
        .spoke_us = now,
    };
    window_reset(&a->window);
    watchdog_watch(&a->watchdog, a->link.fd);
}

void link_die(struct amqp *a, const char *fmt, ...)
{
    struct link *l = &a->link;
    va_list ap;
    if (l->dead)
        return;
    l->dead = true;
    if (watchdog_barked(&a->watchdog)) {
        snprintf(l->why, sizeof l->why, "it took no more data, and the call's time was over");
        return;
    }
    va_start(ap, fmt);
    vsnprintf(l->why, sizeof l->why, fmt, ap);
    va_end(ap);
}

static void say_goodbye(struct amqp *a)
{
    amqp_connection_close_t close = {.reply_code = 200, .reply_text = bytes_of("bye", 3)};
    struct limits limits = {now_us() + GOODBYE_US, -1};
    link_ask(a, 0, AMQP_CONNECTION_CLOSE_METHOD, &close, AMQP_CONNECTION_CLOSE_OK_METHOD, &limits);
}

void link_close(struct amqp *a, int how)
{
    struct link *l = &a->link;
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    if (!l->c)
        return;
    if (how == LINK_POLITELY && !l->dead && !l->blocked)
        say_goodbye(a);
    /* Else the kernel would go on sending what counts as not sent. */
    if (how == LINK_UNSENT_IS_LOST && !l->parted)
        setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    watchdog_watch(&a->watchdog, -1);
    amqp_destroy_connection(l->c);
    *l = (struct link){.fd = -1, .host = l->host};
    window_reset(&a->window);
}

/* ---- in ---- */

static void drain(struct amqp *a)
{
    struct link *l = &a->link;
    const struct timeval no_time = {0, 0};
    bool more = true;
    for (unsigned n = 1; more && !l->dead; n++) {
        amqp_frame_t frame;
        int status = amqp_simple_wait_frame_noblock(l->c, &frame, &no_time);
        if (status == AMQP_STATUS_TIMEOUT)
            break;
        if (status != AMQP_STATUS_OK) {
            link_die(a, "%s", amqp_error_string2(status));
            break;
        }
        event_take(a, &frame);
        /* Half a frame pins all buffers, so whole ones of a large message are not left to pile up.
         */
        if (n % RELEASE_EVERY == 0 || frame.frame_type == AMQP_FRAME_BODY)
            amqp_maybe_release_buffers(l->c);
        /* Saves asking the kernel for what is surely not there; TLS holds back what it likes. */
        more = a->target->url.tls || amqp_data_in_buffer(l->c) || amqp_frames_enqueued(l->c);
    }
    if (!l->dead)
        amqp_maybe_release_buffers(l->c);
}

static bool is_writable(const struct link *l)
{
    struct pollfd fd = {.fd = l->fd, .events = POLLOUT};
    return poll(&fd, 1, 0) > 0 && (fd.revents & POLLOUT);
}

/* Says that we live, if it is time and there is room; when it is time again. */
static int64_t beat(struct amqp *a, int64_t now)
{
    struct link *l = &a->link;
    amqp_frame_t frame = {.frame_type = AMQP_FRAME_HEARTBEAT, .channel = 0};
    if (l->heartbeat_us == 0)
        return INT64_MAX;
    /* A broker that has blocked us does not read and does not expect any. */
    if (now >= l->spoke_us + l->heartbeat_us / 2 && !l->blocked && is_writable(l)) {
        int status = amqp_send_frame(l->c, &frame);
        if (status != AMQP_STATUS_OK)
            link_die(a, "%s", amqp_error_string2(status));
        l->spoke_us = now;
    }
    int64_t beat_us = l->spoke_us + l->heartbeat_us / 2,
            dead_us = l->heard_us + 2 * l->heartbeat_us;
    if (beat_us <= now)
        beat_us = now + l->heartbeat_us / 8;
    return beat_us < dead_us ? beat_us : dead_us;
}

int link_wait(struct amqp *a, bool to_write, const struct limits *limits)
{
    struct link *l = &a->link;
    struct pollfd fds[] = {{.fd = l->fd, .events = (short)(to_write ? POLLIN | POLLOUT : POLLIN)},
                           {.fd = limits->cancel_fd, .events = POLLIN}};
    if (amqp_data_in_buffer(l->c) || amqp_frames_enqueued(l->c)) {
        drain(a); /* what came with the answer to something else */
        return LINK_HEARD;
    }
    for (;;) {
        int64_t beat_us = beat(a, now_us()), got = 0;
        if (l->dead)
            return LINK_HEARD;
        int n = poll(fds, limits->cancel_fd >= 0 ? 2 : 1,
                     ms_until(beat_us < limits->until_us ? beat_us : limits->until_us));
        int64_t now = now_us();
        if (n < 0 && errno != EINTR)
            link_die(a, "poll: %s", strerror(errno));
        if (n > 0 && (fds[0].revents & ~POLLOUT)) {
            l->heard_us = now;
            drain(a);
            got |= LINK_HEARD;
        } else if (l->heartbeat_us > 0 && now > l->heard_us + 2 * l->heartbeat_us) {
            link_die(a, "no sign of life for %lld s", (long long)((now - l->heard_us) / 1000000));
            got |= LINK_HEARD;
        }
        if (n > 0 && (fds[0].revents & POLLOUT))
            got |= LINK_WRITABLE;
        if (n > 0 && limits->cancel_fd >= 0 && fds[1].revents)
            got |= LINK_CANCEL;
        if (got || l->dead || now >= limits->until_us)
            return (int)got;
    }
}

/* ---- out ---- */

static void set_cork(struct amqp *a, int on)
{
    setsockopt(a->link.fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
    a->link.corked = on;
}

void link_cork(struct amqp *a)
{
    if (!a->link.corked)
        set_cork(a, 1);
}

void link_push(struct amqp *a)
{
    if (a->link.corked)
        set_cork(a, 0);
}

bool link_send(struct amqp *a, amqp_channel_t channel, amqp_method_number_t id, void *method)
{
    struct link *l = &a->link;
    int status = l->dead ? AMQP_STATUS_OK : amqp_send_method(l->c, channel, id, method);
    if (status != AMQP_STATUS_OK)
        link_die(a, "%s", amqp_error_string2(status));
    l->spoke_us = now_us();
    return !l->dead;
}

enum answer link_ask(struct amqp *a, amqp_channel_t channel, amqp_method_number_t id, void *method,
                     amqp_method_number_t answer, const struct limits *limits)
{
    struct link *l = &a->link;
    l->answer = 0;
    link_push(a);
    if (!link_send(a, channel, id, method))
        return ANSWER_DEAD;
    for (;;) {
        int got = link_wait(a, false, limits);
        if (l->answer == answer)
            return ANSWER_OK;
        if (l->dead)
            return ANSWER_DEAD;
        if (l->refused && channel != 0)
            return ANSWER_REFUSED;
        if (got & LINK_CANCEL)
            return ANSWER_CANCELLED;
        if (now_us() >= limits->until_us)
            return ANSWER_LATE;
    }
}
