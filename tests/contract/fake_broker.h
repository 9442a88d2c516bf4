/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_broker.h - a broker of AMQP 0-9-1 that misbehaves on request. It accepts one connection
 * after the other in a thread of its own, which runs the callbacks of the test.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Where it falls silent. */
enum fake_silence {
    FAKE_ANSWERS,
    FAKE_SILENT_AT_ONCE,       /* after accepting the connection */
    FAKE_SILENT_AFTER_LOGIN,   /* it does not open channels */
    FAKE_SILENT_AFTER_PUBLISH, /* it reads on, but sends nothing more, not even heartbeats */
    FAKE_DEAF_AFTER_CHANNEL,   /* it does not even read any more */
    FAKE_DEAF_AFTER_FIRST,     /* the same, once it has confirmed a message */
};

struct fake {
    uint16_t port;
    /* Set by the test before fake_start; zero is fine. */
    enum fake_silence silence;
    uint16_t heartbeat_s;
    uint32_t frame_max; /* 0: 128 KiB */
    /* A whole message has arrived, the tag-th of its channel; NULL: it is acked. */
    void (*on_message)(struct fake *fake, uint64_t tag, const char *id);
    /* A channel was opened, for the n-th time on this connection; NULL: nothing. */
    void (*on_channel)(struct fake *fake, int n);
    void *arg;

    _Atomic int connections; /* so far */
    _Atomic int channels;    /* opened so far, on all connections */
    _Atomic int messages;
    _Atomic int heartbeats;
    _Atomic uint64_t body_bytes; /* of the last message */

    /* Its own. */
    int listen_fd, quit_fd, fd;
    pthread_t thread;
    uint64_t tag;
    int opened;
    bool silent;
    bool closing; /* the channel: what still comes on it is ignored */
    char id[256];
    uint64_t body_left;
};

void fake_start(struct fake *fake);
void fake_stop(struct fake *fake);
/* amqp://u:p@127.0.0.1:PORT */
const char *fake_url(const struct fake *fake, char out[64]);

/* For the callbacks, which run in its thread. */
void fake_ack(struct fake *fake, uint64_t tag, bool multiple);
void fake_nack(struct fake *fake, uint64_t tag, bool multiple);
/* With a body of n bytes. */
void fake_return(struct fake *fake, const char *id, uint32_t n);
void fake_close_channel(struct fake *fake, uint16_t code, const char *text);
void fake_close_connection(struct fake *fake, uint16_t code, const char *text);
void fake_block(struct fake *fake, const char *reason);
void fake_unblock(struct fake *fake);
void fake_flow(struct fake *fake, bool active);
void fake_hang_up(struct fake *fake);
void fake_junk(struct fake *fake);
