/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.h - frames out and in on a connection that is logged in, with heartbeats and
 * deadlines. What a frame means is for the owner's callback. One thread uses it; only the watchdog,
 * which has a lock of its own, shuts the socket down from another.
 */
#pragma once

#include "connection/attempt.h"
#include "connection/watchdog.h"

/* How long something may take, and who may cancel it. */
struct limits {
    int64_t until_us;
    int cancel_fd; /* -1: nobody */
};

typedef void (*connection_frame_fn)(void *ctx, const amqp_frame_t *frame);

struct connection {
    amqp_connection_state_t state; /* NULL: there is no connection */
    struct watchdog *watchdog;
    connection_frame_fn on_frame;
    void *ctx;
    const char *peer; /* host:port, of the endpoint */
    bool tls;
    int fd;
    size_t frame_max;
    int64_t opened_us;
    int64_t heartbeat_us;        /* 0: none */
    int64_t received_us;         /* when the broker gave the last sign of life */
    int64_t sent_us;             /* when we did */
    amqp_method_number_t answer; /* the last method that on_frame takes for an answer */
    bool collecting;             /* small frames are collected into large packets */
    bool blocked;                /* the broker has an alarm and reads nothing ... */
    char blocked_why[224];       /* ... for this reason, told alike wherever it is told */
    bool closed;                 /* connection.close was answered; nothing is lost by closing */
    bool failed;                 /* it is of no more use and must be closed ... */
    char why[256];               /* ... for this reason */
};

/* Takes over the attempt's connection. `ctx` is for on_frame. */
void connection_open(struct connection *conn, struct attempt *attempt, struct watchdog *watchdog,
                     connection_frame_fn on_frame, void *ctx);
/* Marks it as failed; the first reason counts. */
void connection_fail(struct connection *conn, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Says goodbye to the broker and waits a little for its answer. */
void connection_say_goodbye(struct connection *conn);
/* Closes the socket. Unless `closed`, the kernel drops what it has not sent yet. */
void connection_close(struct connection *conn);

#define CONNECTION_RECEIVED 1
#define CONNECTION_WRITABLE 2
#define CONNECTION_CANCELLED 4
/*
 * Waits until frames came, which go to on_frame, or the connection failed, or (with `to_write`)
 * there is room to write, or cancel_fd is readable. Returns which; 0 when the time is over. Sends
 * heartbeats meanwhile.
 */
int connection_wait(struct connection *conn, bool to_write, const struct limits *limits);

/* OUTBOX_OK, or OUTBOX_E_BROKEN: the connection has failed. */
int connection_send_frame(struct connection *conn, const amqp_frame_t *frame);
int connection_send(struct connection *conn, amqp_channel_t channel, amqp_method_number_t id,
                    void *method);
/* Collects small frames into large packets from here on, until they are flushed. */
void connection_collect(struct connection *conn);
void connection_flush(struct connection *conn);

/*
 * Sends a method and waits for the one that answers it. OUTBOX_OK; OUTBOX_E_BROKEN: the connection
 * has failed; OUTBOX_E_CONFIG: the broker closed the channel instead; OUTBOX_E_RETRY: it is
 * blocked; OUTBOX_E_TIMEOUT, OUTBOX_E_CANCELLED: the answer may still come.
 */
int connection_request(struct connection *conn, amqp_channel_t channel, amqp_method_number_t id,
                       void *method, amqp_method_number_t answer, const struct limits *limits);
