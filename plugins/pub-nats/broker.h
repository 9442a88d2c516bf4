/* SPDX-License-Identifier: Apache-2.0 */
/* broker.h - what the parts of pub-nats share. All workers of a section use one client. */
#pragma once

#include <outbox/client.h>
#include <outbox/plugin.h>
#include <outbox/template.h>
#include <outbox/url.h>

#include "link.h"

/* A line of the protocol has at most 4096 bytes: the subject, the inbox and some numbers. */
#define SUBJECT_MAX 3500
#define INBOX_MAX 128

/* The options. Texts are the host's. */
struct settings {
    struct outbox_url url;
    struct outbox_template subject;
    const char *stream, *key_header; /* NULL: none */
    const char *creds_file, *nkey_file;
    const char *ca_file, *cert_file, *key_file;
    const char *inbox_prefix;
    int64_t connect_us, publish_us, keepalive_us;
    uint32_t window;
    int restricted, tls, tls_verify, has_token;
};

/* How far looking at the server has come. */
enum look { LOOK_NOTHING, LOOK_PROBE, LOOK_NAMES, LOOK_INFO };

struct broker {
    struct outbox_client client;
    struct settings settings;
    /* the thread's */
    natsConnection *nc; /* NULL: there is none */
    natsSubscription *sub;
    struct link *link;
    char inbox[INBOX_MAX]; /* with a dot at its end */
    uint64_t number;       /* of the last message */
    uint64_t answered;     /* the number of the last message that JetStream answered */
    int gone;              /* the connection has ended: OUTBOX_E_ */
    int is_named;          /* and one message is to blame */
    char why[300];
    enum look look;
    struct outbox_err looked; /* code < 0: what was found */
    int probe_forbidden, api_forbidden;
    int64_t probed_us, probe_until_us; /* when the server was asked; until when it has to answer */
    int64_t why_until_us;              /* until when JetStream has to answer look_why */
    int64_t look_until_us;             /* until when a check waits; INT64_MAX: none does */
    char warned[300];
    char full[256];  /* the stream that has no room; "": none that is known */
    int64_t full_us; /* when that was logged last */
    char subject[SUBJECT_MAX + 1];
    char found[256]; /* the stream that takes the fixed subject */
};

/* settings.c */
int settings_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  struct settings *set, struct outbox_err *err);

/* subject.c */
/* What is wrong with it, or NULL. */
const char *subject_fault(const char *subject, size_t n);
/* Makes the subject of a message in b->subject. OUTBOX_E_CONFIG: never, with the reason. */
int subject_make(struct broker *b, const struct outbox_message *msg, struct outbox_err *err);

/* login.c: the options of one connection; natsOptions_Destroy. */
int login_options(const struct broker *b, const struct outbox_url_host *h, natsOptions **ret,
                  struct outbox_err *err);
/* What the library said last in this thread. */
const char *login_text(natsStatus s);

/* attempt.c: connects within connect_timeout, or gives up; sets nc and link. */
int attempt_connect(struct broker *b, const struct outbox_url_host *h, struct outbox_err *err);

/* connection.c: under the lock, by the thread */
int connection_make(struct broker *b, struct outbox_err *err);
void connection_drop(struct broker *b);
OUTBOX_PRINTF(3, 4) void connection_end(struct broker *b, int code, const char *why, ...);
/* Waits for something to do, at most until until_us, and does what the connection has. */
void connection_step(struct broker *b, int64_t until_us);
natsStatus connection_ask(struct broker *b, const char *subject, const char *token,
                          const char *payload);

/* look.c: asks the server whether messages can be published, until look is LOOK_NOTHING. */
void look_begin(struct broker *b);
void look_probe(struct broker *b);
void look_take(struct broker *b, const struct answer *a);
/* A subject is forbidden: it may be one of ours. */
void look_forbidden(struct broker *b, const char *subject);
/* Whether a stream takes the subject of a message that nobody answered. */
void look_why(struct broker *b, struct outbox_job *job);
void look_why_expire(struct broker *b);

/* message.c: 0, or OUTBOX_E_RETRY if the connection has failed. */
int message_send(struct broker *b, struct outbox_job *job);

/* answer.c */
void answer_take(struct broker *b, const struct answer *a);

/* broker.c: the shared state */
int broker_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                struct outbox_err *err);
