/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publisher.h - an instance of pub-amqp. One thread uses it at a time, as the host promises, so it
 * has no lock; the watchdog's thread and those that connect share only what their headers say.
 */
#pragma once

#include "common/arena.h"
#include "common/timed_call.h"
#include "connection/connection.h"
#include "connection/reply_code.h"
#include "connection/roster.h"
#include "publish/window.h"
#include "settings.h"

/* The number of the only channel. */
#define CHANNEL 1

/* What the broker said on the channel of the connection. */
struct channel {
    bool open;              /* in confirm mode */
    bool declared;          /* the exchange or queue, as the option `declare` says */
    bool paused;            /* by channel.flow */
    bool stale;             /* to be opened anew before it is used again */
    bool in_body;           /* a body is being sent, which no other frame may break */
    bool owes_close_ok;     /* it was closed meanwhile */
    uint64_t confirms;      /* since the connection was opened */
    uint64_t body_max;      /* learnt from a refusal on this connection; 0: not known */
    uint16_t returned_code; /* of a returned message whose header is still to come; 0: none */
    char returned_text[128];
    struct reply reply; /* why the broker closed the channel last */
};

/* The last login that was refused. It is not repeated for a while, unless it has changed. */
struct refusal {
    uint64_t login; /* hash of user, password or certificate, and virtual host */
    int64_t until_us;
    struct outbox_err err;
};

struct call;

struct amqp {
    const struct outbox_host *host;
    const struct outbox_cfg *cfg;
    struct settings settings;

    /* The connection and how it came about. */
    struct endpoint *endpoint; /* as it was read for the last login */
    /* One for each host, made when needed: a name that hangs holds up no other. */
    struct timed_call *connecting[OUTBOX_URL_HOSTS];
    size_t next_host; /* where to connect to first */
    struct refusal refusal;
    struct roster_member member;
    struct watchdog watchdog;
    struct connection connection;
    struct channel channel;
    struct window window;

    /* The call under way. */
    struct call *call;   /* NULL: none that publishes */
    struct arena arena;  /* of one call: reasons, headers */
    struct arena fields; /* of the message that is being sent */
    bool only_nacks;     /* the last call with confirms got nothing else */
};
