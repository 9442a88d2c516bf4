/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt.h - what the parts of pub-mqtt share.
 *
 * All workers of a section use one client. Its thread is the only one that calls libmosquitto for
 * it; workers put jobs into `queue`, and take them from their instance's `done`. `lock` protects
 * the jobs, the instances and what is marked so. The thread holds it during all calls of the
 * library but the one that looks up the host's name, which may take long.
 */
#pragma once

#include <outbox/plugin.h>
#include <outbox/template.h>
#include <outbox/url.h>

#include <mosquitto.h>
#include <pthread.h>

#define TOPIC_MAX 65535

struct instance;

/* A message on its way. It and its outcome are ours until collect has handed the outcome out. */
struct job {
    struct job *next, *prev;
    struct instance *owner;
    const struct outbox_message *msg;
    struct outbox_outcome *outcome;
    int64_t until_us; /* by then it has its outcome */
    int64_t sent_us;
    int mid; /* the library's number of it */
    uint32_t verdict, after_ms;
    char *reason; /* NULL: none */
};

struct jobs {
    struct job *first, *last;
    uint64_t n;
};

/* The options. Texts are the host's. */
struct settings {
    struct outbox_url url;
    struct outbox_template topic;
    char client_id[160];
    const char *id_property, *key_property; /* NULL: none */
    const char *ca_file, *cert_file, *key_file;
    int64_t connect_us, publish_us;
    int keepalive_s, qos, protocol;
    uint32_t window;
    int slashes, restricted, retain, mandatory, tls, tls_verify;
};

struct client {
    const struct outbox_host *host;
    const struct outbox_cfg *cfg;
    struct settings settings;
    pthread_mutex_t lock;
    pthread_cond_t ended_cond;
    pthread_t thread;
    int wake; /* an eventfd: there is something for the thread */
    /* under the lock */
    int ending, ended, abandoned;
    struct instance *instances;
    struct jobs queue, sent; /* to be sent; without an answer */
    int64_t earliest_us;     /* no job has to be done before */
    int connected;
    struct outbox_err down; /* code < 0: why there is no connection any longer */
    /* the thread's */
    struct mosquitto *mosq; /* NULL: no connection is begun */
    int connack;            /* -1: none yet */
    int gone;               /* the connection has ended: MOSQ_ERR_, or an MQTT 5 reason code */
    char why[256];
    char log[256]; /* the last complaint of the library */
    uint32_t window;
    char topic[TOPIC_MAX + 1];
};

static inline int64_t client_now_us(const struct client *c)
{
    return c->host->monotonic_us(c->host);
}

struct instance {
    struct instance *next;
    const struct outbox_host *host;
    struct client *client;
    struct jobs done;          /* to be handed out; under the lock, as what follows */
    uint64_t open;             /* submitted, and not in `done` */
    struct outbox_err failure; /* code < 0: the next collect tells it */
    struct outbox_err checked;
    int checking;
    int ready; /* an eventfd: collect has something */
    int told;  /* an eventfd: the check has its answer */
    struct outbox_outcome **handed;
    struct outbox_reasons reasons;
    char text[504];
};

/* settings.c */
int settings_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  struct settings *set, struct outbox_err *err);

/* jobs.c: all under the lock */
void jobs_push(struct jobs *jobs, struct job *job);
void jobs_remove(struct jobs *jobs, struct job *job);
struct job *jobs_pop(struct jobs *jobs);
/* Takes the job from `from`, and puts it where collect finds it. reason: NULL, or its format. */
OUTBOX_PRINTF(5, 6)
void jobs_done(struct jobs *from, struct job *job, uint32_t verdict, uint32_t after_ms,
               const char *reason, ...);
void jobs_expire(struct client *c);
/* Takes all jobs of an instance, or all without `owner`, as unset. */
void jobs_give_back(struct jobs *from, const struct instance *owner);
void jobs_fail(struct jobs *from, const struct outbox_err *err);
void jobs_free(struct job *job);

/* message.c: under the lock, by the thread */
/* Sends the first job of the queue. 0, or MOSQ_ERR_ if the connection has failed. */
int message_send(struct client *c);
void message_on_answer(struct mosquitto *mosq, void *obj, int mid, int code,
                       const mosquitto_property *props);

/* connection.c: under the lock, by the thread */
int connection_make(struct client *c, struct outbox_err *err);
void connection_drop(struct client *c);
/* Waits for something to do, at most until until_us, and does what the connection has. */
void connection_step(struct client *c, int64_t until_us);

/* client.c: the shared state */
int client_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                struct outbox_err *err);
void client_close(void *shared);

/* submit.c */
int submit_begin(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                 const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                 uint64_t *ret_n, struct outbox_err *err);
int submit_collect(void *instance, const struct outbox_call *call,
                   struct outbox_outcome *const **ret, uint64_t *ret_n, struct outbox_err *err);
