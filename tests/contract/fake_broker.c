/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_broker.h"

#include "fake_frame.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_METHOD 1
#define FRAME_HEADER 2
#define FRAME_BODY 3
#define FRAME_HEARTBEAT 8
#define FRAME_END 0xCE
#define FRAME_MAX 131072

/* ---- writing ---- */

static void send_all(struct fake *f, const uint8_t *p, size_t n)
{
    while (n > 0 && !f->silent) {
        ssize_t sent = send(f->fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return; /* it is gone; reading will tell */
        p += sent;
        n -= (size_t)sent;
    }
}

static void send_frame(struct fake *f, uint8_t type, uint16_t channel, const struct out *body)
{
    struct out o = {.n = 0};
    put_number(&o, type, 1);
    put_number(&o, channel, 2);
    put_number(&o, body->n, 4);
    put(&o, body->p, body->n);
    put_number(&o, FRAME_END, 1);
    send_all(f, o.p, o.n);
}

static struct out method(uint16_t class_id, uint16_t method_id)
{
    struct out o = {.n = 0};
    put_number(&o, class_id, 2);
    put_number(&o, method_id, 2);
    return o;
}

static void confirm(struct fake *f, uint16_t method_id, uint64_t tag, uint8_t bits)
{
    struct out o = method(60, method_id);
    put_number(&o, tag, 8);
    put_number(&o, bits, 1);
    send_frame(f, FRAME_METHOD, 1, &o);
}

void fake_ack(struct fake *f, uint64_t tag, bool multiple)
{
    confirm(f, 80, tag, multiple);
}

void fake_nack(struct fake *f, uint64_t tag, bool multiple)
{
    confirm(f, 120, tag, multiple);
}

void fake_return(struct fake *f, const char *id, uint32_t n)
{
    struct out o = method(60, 50);
    put_number(&o, 312, 2);
    put_short(&o, "NO_ROUTE");
    put_short(&o, "exchange");
    put_short(&o, "key");
    send_frame(f, FRAME_METHOD, 1, &o);
    o = (struct out){.n = 0};
    put_number(&o, 60, 2);
    put_number(&o, 0, 2);
    put_number(&o, n, 8);
    put_number(&o, 1 << 7, 2); /* message-id */
    put_short(&o, id);
    send_frame(f, FRAME_HEADER, 1, &o);
    while (n > 0) {
        uint32_t piece = n < 1000 ? n : 1000;
        o.n = 0;
        for (uint32_t i = 0; i < piece; i++)
            put_number(&o, 'x', 1);
        send_frame(f, FRAME_BODY, 1, &o);
        n -= piece;
    }
}

static void send_close(struct fake *f, uint16_t channel, struct out o, uint16_t code,
                       const char *text)
{
    put_number(&o, code, 2);
    put_short(&o, text);
    put_number(&o, 60, 2); /* because of basic.publish */
    put_number(&o, 40, 2);
    send_frame(f, FRAME_METHOD, channel, &o);
}

void fake_close_channel(struct fake *f, uint16_t code, const char *text)
{
    send_close(f, 1, method(20, 40), code, text);
    f->closing = true;
}

void fake_close_connection(struct fake *f, uint16_t code, const char *text)
{
    send_close(f, 0, method(10, 50), code, text);
}

void fake_block(struct fake *f, const char *reason)
{
    struct out o = method(10, 60);
    put_short(&o, reason);
    send_frame(f, FRAME_METHOD, 0, &o);
}

void fake_unblock(struct fake *f)
{
    struct out o = method(10, 61);
    send_frame(f, FRAME_METHOD, 0, &o);
}

void fake_flow(struct fake *f, bool active)
{
    struct out o = method(20, 20);
    put_number(&o, active, 1);
    send_frame(f, FRAME_METHOD, 1, &o);
}

void fake_hang_up(struct fake *f)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    setsockopt(f->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    shutdown(f->fd, SHUT_RDWR);
}

void fake_junk(struct fake *f)
{
    static const uint8_t junk[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    send_all(f, junk, sizeof junk);
}

/* ---- reading ---- */

/* True when all of it came; false at the end. Says that it lives meanwhile. */
static bool receive(struct fake *f, void *to, size_t n)
{
    struct out nothing = {.n = 0};
    while (n > 0) {
        struct pollfd fds[] = {{.fd = f->fd, .events = POLLIN},
                               {.fd = f->quit_fd, .events = POLLIN}};
        int r = poll(fds, 2, f->heartbeat_s ? f->heartbeat_s * 400 : -1);
        if (r == 0)
            send_frame(f, FRAME_HEARTBEAT, 0, &nothing);
        if (fds[1].revents)
            return false;
        if (!fds[0].revents)
            continue;
        ssize_t got = recv(f->fd, to, n, 0);
        if (got <= 0)
            return false;
        to = (char *)to + got;
        n -= (size_t)got;
    }
    return true;
}

static uint64_t number(const uint8_t *p, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | p[i];
    return value;
}

static void message_done(struct fake *f)
{
    if (f->closing)
        return;
    f->tag++;
    f->messages++;
    if (f->silence == FAKE_SILENT_AFTER_PUBLISH)
        f->silent = true;
    if (f->on_message)
        f->on_message(f, f->tag, f->id);
    else
        fake_ack(f, f->tag, false);
}

/* Finds the message-id among the properties, in which only what we send can stand before it. */
static void take_header(struct fake *f, const uint8_t *p)
{
    uint16_t flags = (uint16_t)number(p + 12, 2);
    f->body_left = number(p + 4, 8);
    f->body_bytes = f->body_left;
    p += 14;
    if (flags & 1 << 15) /* content-type */
        p += 1 + p[0];
    if (flags & 1 << 13) /* headers */
        p += 4 + number(p, 4);
    if (flags & 1 << 12) /* delivery-mode */
        p++;
    memcpy(f->id, p + 1, p[0]);
    f->id[p[0]] = '\0';
    if (f->body_left == 0)
        message_done(f);
}

static void open_channel(struct fake *f)
{
    struct out o = method(20, 11);
    if (f->silence == FAKE_SILENT_AFTER_LOGIN)
        f->silent = true;
    put_number(&o, 0, 4);
    send_frame(f, FRAME_METHOD, 1, &o);
    f->tag = 0;
    f->opened++;
    f->channels++;
}

/* False: this connection is over. */
static bool take_method(struct fake *f, const uint8_t *p)
{
    uint32_t id = (uint32_t)number(p, 4);
    struct out o;
    switch (id) {
    case 0x000A000B: /* connection.start-ok: tune */
        o = method(10, 30);
        put_number(&o, 2047, 2);
        put_number(&o, f->frame_max ? f->frame_max : FRAME_MAX, 4);
        put_number(&o, f->heartbeat_s, 2);
        send_frame(f, FRAME_METHOD, 0, &o);
        return true;
    case 0x000A0028: /* connection.open */
        o = method(10, 41);
        put_number(&o, 0, 1);
        send_frame(f, FRAME_METHOD, 0, &o);
        return true;
    case 0x000A0032: /* connection.close */
        o = method(10, 51);
        send_frame(f, FRAME_METHOD, 0, &o);
        return false;
    case 0x000A0033: /* connection.close-ok */
        return false;
    case 0x00140028: /* channel.close */
        o = method(20, 41);
        send_frame(f, FRAME_METHOD, 1, &o);
        return true;
    case 0x00140029: /* channel.close-ok */
        f->closing = false;
        return true;
    case 0x0014000A: /* channel.open */
        open_channel(f);
        return true;
    case 0x0055000A: /* confirm.select */
        o = method(85, 11);
        send_frame(f, FRAME_METHOD, 1, &o);
        if (f->on_channel)
            f->on_channel(f, f->opened);
        return f->silence != FAKE_DEAF_AFTER_CHANNEL;
    default: /* tune-ok, basic.publish */
        return true;
    }
}

static bool is_deaf(const struct fake *f)
{
    return f->silence == FAKE_DEAF_AFTER_FIRST && f->tag > 0;
}

static bool take_frame(struct fake *f, uint8_t *body)
{
    uint8_t head[7];
    if (!receive(f, head, sizeof head))
        return false;
    size_t n = number(head + 3, 4);
    if (n > FRAME_MAX || !receive(f, body, n + 1) || body[n] != FRAME_END)
        return false;
    switch (head[0]) {
    case FRAME_METHOD:
        return take_method(f, body);
    case FRAME_HEADER:
        take_header(f, body);
        return !is_deaf(f);
    case FRAME_BODY:
        f->body_left -= n < f->body_left ? n : f->body_left;
        if (f->body_left == 0)
            message_done(f);
        return !is_deaf(f);
    default:
        f->heartbeats++;
        return true;
    }
}

static void greet(struct fake *f)
{
    struct out o = method(10, 10);
    put_number(&o, 0, 1);
    put_number(&o, 9, 1);
    put_number(&o, 0, 4); /* no properties */
    put_number(&o, 5, 4);
    put(&o, "PLAIN", 5);
    put_number(&o, 5, 4);
    put(&o, "en_US", 5);
    send_frame(f, FRAME_METHOD, 0, &o);
}

static void wait_for_quit(const struct fake *f)
{
    struct pollfd fd = {.fd = f->quit_fd, .events = POLLIN};
    poll(&fd, 1, -1);
}

static void serve(struct fake *f, uint8_t *body)
{
    uint8_t hello[8];
    f->silent = f->closing = false;
    f->opened = 0;
    if (f->silence == FAKE_SILENT_AT_ONCE) {
        wait_for_quit(f);
        return;
    }
    if (!receive(f, hello, sizeof hello))
        return;
    greet(f);
    while (take_frame(f, body))
        ;
    if (f->silence == FAKE_DEAF_AFTER_CHANNEL || is_deaf(f))
        wait_for_quit(f);
}

static void *run(void *arg)
{
    struct fake *f = arg;
    uint8_t *body = malloc(FRAME_MAX + 1);
    struct pollfd fds[] = {{.fd = f->listen_fd, .events = POLLIN},
                           {.fd = f->quit_fd, .events = POLLIN}};
    while (body && poll(fds, 2, -1) >= 0 && !fds[1].revents) {
        f->fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (f->fd < 0)
            continue;
        f->connections++;
        serve(f, body);
        close(f->fd);
    }
    free(body);
    return NULL;
}

/* ---- life ---- */

void fake_start(struct fake *f)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof address;
    int small = 65536;
    f->quit_fd = eventfd(0, EFD_CLOEXEC);
    f->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* So that a peer soon notices that nobody reads. */
    if (f->silence >= FAKE_DEAF_AFTER_CHANNEL)
        setsockopt(f->listen_fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    ck_assert_int_eq(bind(f->listen_fd, (struct sockaddr *)&address, n), 0);
    ck_assert_int_eq(listen(f->listen_fd, 10), 0);
    ck_assert_int_eq(getsockname(f->listen_fd, (struct sockaddr *)&address, &n), 0);
    f->port = ntohs(address.sin_port);
    ck_assert_int_eq(pthread_create(&f->thread, NULL, run, f), 0);
}

void fake_stop(struct fake *f)
{
    uint64_t one = 1;
    if (write(f->quit_fd, &one, sizeof one) < 0)
        abort();
    pthread_join(f->thread, NULL);
    close(f->listen_fd);
    close(f->quit_fd);
}

const char *fake_url(const struct fake *f, char out[64])
{
    snprintf(out, 64, "amqp://u:p@127.0.0.1:%u", f->port);
    return out;
}
