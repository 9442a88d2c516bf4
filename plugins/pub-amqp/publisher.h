/* SPDX-License-Identifier: Apache-2.0 */
/* publisher.h - an instance of pub-amqp, and what its files share. */
#ifndef PUB_AMQP_PUBLISHER_H
#define PUB_AMQP_PUBLISHER_H

#include "common/arena.h"
#include "common/timed_call.h"
#include "connection/endpoint.h"
#include "connection/rabbitmq_compat.h"
#include "connection/watchdog.h"
#include "publish/reply_code.h"
#include "publish/template.h"
#include "publish/window.h"

#include <outbox/plugin.h>

/* The only channel there is. */
#define CHANNEL 1

enum declare { DECLARE_NONE, DECLARE_PASSIVE, DECLARE_CREATE };

/* What the section says; constant once opened. */
struct settings {
    bool queue_mode;
    struct template exchange; /* mode = pubsub */
    struct template key;      /* the routing key; the queue's name in mode = queue */
    char **allowed;           /* patterns for names that come from messages */
    size_t n_allowed;
    enum declare declare;
    char *exchange_type;
    bool quorum;
    bool mandatory;
    bool persistent;
    int64_t confirm_us;
    int64_t connect_us;
    uint32_t window;
};

/* Why nothing can be published. */
struct trouble {
    int code;          /* OUTBOX_E_ */
    uint32_t after_ms; /* 0: the host decides */
    char text[480];
};

/* The connection, its channel, and what the broker said on them. */
struct link {
    amqp_connection_state_t c; /* NULL: none */
    int fd;
    size_t host;
    size_t frame_max;
    int64_t heartbeat_us; /* 0: none */
    int64_t heard_us;     /* when the broker gave the last sign of life */
    int64_t spoke_us;     /* when we did */
    bool kept;            /* from an earlier call */
    bool dead;            /* to be closed */
    bool parted;          /* the broker closed it, and was answered */
    bool channel;         /* open, in confirm mode */
    bool declared;
    bool proven;  /* a message was confirmed on this connection */
    bool blocked; /* by an alarm of the broker */
    bool stopped; /* by channel.flow */
    bool corked;
    uint64_t confirms; /* how many came */
    uint32_t answer;   /* the method that answers a request */
    bool refused;      /* the broker closed the channel, as `reply` says */
    struct reply reply;
    struct {
        bool open;     /* a message comes back */
        bool headless; /* its header is still to come */
        uint64_t left; /* of its body */
        uint16_t code;
        char text[128];
    } returned;
    char alarm[160]; /* why it is blocked */
    char why[256];   /* why it is dead */
};

struct call;

struct amqp {
    const struct outbox_host *host;
    struct settings settings;
    struct target *target;
    struct timed_call **connecting; /* one for each host: a name that hangs holds up no other */
    size_t next_host;               /* where to connect to first */
    struct watchdog watchdog;
    struct link link;
    struct window window;
    struct trouble trouble;
    struct arena arena;          /* of one call: reasons, lists */
    struct call *call;           /* the publish call under way, or NULL */
    bool only_nacks;             /* the last call with confirms got nothing else */
    amqp_table_entry_t *headers; /* of the message that is being sent */
    size_t headers_room;
};

/* How long something may take, and who may call it back. */
struct limits {
    int64_t until_us;
    int cancel_fd; /* -1: nobody */
};

/* All of a call's time but a little for coming back; *ret_margin_us is how much. */
struct limits limits_of(const struct outbox_call *call, int64_t *ret_margin_us);

/* ---- settings.c ---- */

/* Reads and checks every option. On failure settings_free must follow, too. */
int settings_read(struct amqp *a, const struct outbox_cfg *cfg, struct outbox_err *err);
void settings_free(struct settings *settings);

/* ---- link.c: frames out and in ---- */

const char *link_peer(const struct amqp *a, char out[300]); /* host:port */
/* Takes over a connection that is logged in. */
void link_open(struct amqp *a, amqp_connection_state_t c, size_t host, int heartbeat_s);
void link_die(struct amqp *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* How to part. */
enum { LINK_POLITELY, LINK_AT_ONCE, LINK_UNSENT_IS_LOST };
void link_close(struct amqp *a, int how);

/* What happened. */
#define LINK_HEARD 1
#define LINK_WRITABLE 2
#define LINK_CANCEL 4
/*
 * Waits for something to happen: for what the broker says, which is taken in, and with `to_write`
 * for room to write. Serves heartbeats meanwhile. 0 when the time is over.
 */
int link_wait(struct amqp *a, bool to_write, const struct limits *limits);
/* Collects small frames into large packets until they are pushed. */
void link_cork(struct amqp *a);
void link_push(struct amqp *a);
/* Sends a method; false when the connection is dead. */
bool link_send(struct amqp *a, amqp_channel_t channel, amqp_method_number_t id, void *method);
/* Sends a method and waits for the one that answers it. */
enum answer { ANSWER_OK, ANSWER_DEAD, ANSWER_REFUSED, ANSWER_LATE, ANSWER_CANCELLED };
enum answer link_ask(struct amqp *a, amqp_channel_t channel, amqp_method_number_t id, void *method,
                     amqp_method_number_t answer, const struct limits *limits);

/* ---- events.c: what a frame means ---- */
void event_take(struct amqp *a, const amqp_frame_t *frame);

/* ---- session.c: a connection that is ready to publish ---- */

/*
 * Connects if need be, opens the channel, declares. OUTBOX_OK, or a->trouble says what is wrong and
 * its code is returned.
 */
int session_ready(struct amqp *a, const struct limits *limits);
/* Opens the channel anew, in confirm mode. */
int session_channel(struct amqp *a, const struct limits *limits);
/* Is what we publish to there? For `check`. */
int session_look(struct amqp *a, const struct limits *limits);
int trouble(struct amqp *a, int code, uint32_t after_ms, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* What became of a request that was not answered as it should. */
int trouble_of(struct amqp *a, enum answer answer, const char *what);

/* ---- publish.c ---- */
int publish_messages(struct amqp *a, const struct outbox_message *const *msgs, uint64_t n,
                     const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                     struct outbox_err *err);

/* ---- tend.c ---- */
int tend_link(struct amqp *a, struct outbox_keepalive *ret);

#endif
