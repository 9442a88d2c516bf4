/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redis.h - what the parts of pub-redis share.
 *
 * All workers of a section use one client, as <outbox/client.h> has it. Its thread is the only one
 * that uses the connection, with the lock held but while it waits or looks up a name. hiredis makes
 * the commands and reads the replies; socket and TLS are ours, since its own block.
 */
#pragma once

#include "link.h"

#include <outbox/client.h>
#include <outbox/plugin.h>
#include <outbox/template.h>
#include <outbox/url.h>

#define STREAM_MAX 4095

enum fsync_mode { FSYNC_NO, FSYNC_LOCAL, FSYNC_ALL };
enum appendonly_need { APPENDONLY_ANY, APPENDONLY_YES, APPENDONLY_ALWAYS };

/* The options. Texts are the host's. */
struct settings {
    struct outbox_url url;
    char *unix_text; /* what url points into, if it is a socket's */
    char path[OUTBOX_URL_TEXT];
    const char *sentinel, *sentinel_user; /* NULL: none */
    struct outbox_template stream;
    const char *id_field, *key_field, *topic_field, *payload_field; /* NULL: none */
    const char *header_prefix;
    const char *ca_file, *cert_file, *key_file;
    int64_t connect_us, publish_us, keepalive_us, maxlen;
    uint32_t window, replicas, wait_ms, database;
    enum fsync_mode fsync;
    enum appendonly_need appendonly;
    int restricted, nomkstream, maxlen_exact, tls, tls_verify;
};

/* WAIT and WAITAOF: one or two commands that follow the messages which they are for. */
struct waits {
    uint64_t first, last; /* their numbers; 0: none is on its way */
    char missing[128];    /* what one of them lacks */
};

struct broker {
    struct outbox_client client;
    struct settings settings;
    /* the thread's */
    struct link link;
    struct outbox_job *unanswered; /* the first one in `sent` that has no reply */
    uint64_t added;                /* the number of the last XADD */
    struct waits waits;
    int lagging;       /* replicas are behind: nothing is sent until they have come up */
    int64_t heard_us;  /* when the server last said something, or began to owe it */
    uint32_t told;     /* findings that the log has */
    int64_t value_max; /* the longest value that the server takes */
    char peer[600];    /* whom the link leads to */
    char stream[STREAM_MAX + 1];
};

/* settings.c */
int settings_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  struct settings *set, struct outbox_err *err);
void settings_clear(struct settings *set);

/* dial.c: a new link to a host; `name` is looked up without the lock. Errors name no host. */
int dial_host(struct broker *b, const char *name, uint16_t port, int64_t until_us,
              struct outbox_err *err);
int dial_socket(struct broker *b, const char *path, int64_t until_us, struct outbox_err *err);

/* tls.c: makes link->ssl, and shakes hands. */
int tls_begin(struct broker *b, const char *name, int64_t until_us, struct outbox_err *err);

/* ask.c: one command, its words ended by NULL, and its reply, which the caller frees. While nothing
 * else is on its way. A reply that is an error is none of ask_server. */
int ask_server(struct broker *b, int64_t until_us, redisReply **ret, struct outbox_err *err, ...);
/* Waits for one of `events`. OUTBOX_E_RETRY: not in time; OUTBOX_E_CONFIG: the thread is to end. */
int ask_wait(struct broker *b, short events, int64_t until_us, struct outbox_err *err);

/* login.c: connects to the first host that is a master and takes messages. */
int login_make(struct broker *b, struct outbox_err *err);

/* survey.c: whether this server keeps what it acknowledges, and takes messages now. */
int survey_run(struct broker *b, int64_t until_us, struct outbox_err *err);

/* message.c */
/* Puts the job's XADD into the link, or ends the job. */
void message_send(struct broker *b, struct outbox_job *job);
void message_take_reply(struct broker *b, struct outbox_job *job, const redisReply *reply);
/* What an error means for the connection: OUTBOX_OK, it goes on; or with what it ends. */
int message_ends_link(const char *error);
/* Is it an error of this class, as "OOM"? */
int message_is_error(const char *error, const char *class);
/* Is it refused because of what the server is, has or allows, and not for a message's sake? */
int message_is_about_server(const struct settings *set, const char *error);

/* waits.c */
int waits_wanted(const struct broker *b);
void waits_send(struct broker *b);
/* A reply within waits.first and waits.last. */
void waits_take_reply(struct broker *b, uint64_t number, const redisReply *reply);

/* broker.c: the shared state */
int broker_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                struct outbox_err *err);
