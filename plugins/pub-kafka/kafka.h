/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka.h - what the parts of pub-kafka share.
 *
 * All workers of a section use one producer of librdkafka, as <outbox/client.h> has it. The
 * client's thread makes and ends it, gives it messages, which it copies, and serves its events;
 * all of that with the lock held, since none of it waits. What may wait has a thread of its own:
 * the questions of a check (inquiry.c) and the end of a producer (link.c).
 */
#pragma once

#include <outbox/client.h>
#include <outbox/plugin.h>
#include <outbox/template.h>
#include <outbox/url.h>

#include <librdkafka/rdkafka.h>
#include <stdatomic.h>

#define TOPIC_MAX 249
#define WINDOW_MAX 100000

/* The options. Texts are the host's. */
struct settings {
    struct outbox_url url;
    struct outbox_template topic;
    const char *id_header; /* NULL: none */
    const char *mechanism;
    const char *ca_file, *cert_file, *key_file;
    int64_t connect_us, publish_us;
    uint32_t window;
    int restricted, created, tls, tls_verify;
};

/* Handles of so many topics are kept. */
#define TOPICS_MAX 256

/* A thread for what may wait. */
struct helper {
    struct helper *next;
    pthread_t thread;
    atomic_int done;
    int is_started; /* else there was no thread: it is tried again */
    void (*work)(void *arg);
    void *arg;
};

/* A producer, and how many use it. The last one ends it. */
struct link {
    rd_kafka_t *rk;
    atomic_int users;
    struct helper *ender;                 /* the thread's, for its end */
    rd_kafka_topic_t *topics[TOPICS_MAX]; /* the thread's, by a hash of the name */
};

struct broker {
    struct outbox_client client; /* is_connected is the thread's, too */
    struct settings settings;
    struct outbox_job **slots; /* jobs in `sent`, by their numbers; under the lock */
    uint64_t mask;
    /* the thread's */
    struct link *link; /* NULL: there is no producer */
    struct helper *helpers;
    uint64_t number;        /* of the last message */
    int64_t acked_us;       /* when this producer had its last acknowledgement; 0: never */
    int gone;               /* the producer is of no use: OUTBOX_E_ of what it is given up with */
    int renew;              /* it is to be replaced, and nobody has to be told */
    int all_down;           /* no broker can be reached */
    int refused;            /* a broker refuses the login */
    int distrust;           /* the last producer ended by an error of its own: look twice */
    int advised;            /* the settings of the topic were told */
    int64_t alone_until_us; /* until then each message goes in a batch of its own */
    int alone;              /* this producer does that */
    char why[504];
    char last[504]; /* the last complaint of the library */
    char password[1024];
    char topic[TOPIC_MAX + 1];
};

static inline int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Whether Kafka takes it as the name of a topic. */
static inline int kafka_is_topic(const char *name)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(name);
    return n > 0 && n <= TOPIC_MAX && strspn(name, letters) == n && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

/* settings.c */
int settings_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  struct settings *set, struct outbox_err *err);

/* topic.c */
/* The library's handle of the topic; NULL: it has no memory. */
rd_kafka_topic_t *topic_of(struct link *link, const char *name);
void topic_forget_all(struct link *link);

/* configure.c */
/* *ret is the library's configuration; the caller frees it, or gives it to rd_kafka_new. */
int configure(struct broker *b, rd_kafka_conf_t **ret, struct outbox_err *err);
/* Lets the library check all settings against each other. */
int configure_check(struct broker *b, struct outbox_err *err);

/* outcome.c */
/* What err, of the library or the broker, means for the message. */
void outcome_set(struct broker *b, struct outbox_job *job, rd_kafka_resp_err_t err,
                 int may_be_stored);

/* message.c: under the lock */
/* RD_KAFKA_RESP_ERR__QUEUE_FULL: the job stays in the queue. */
rd_kafka_resp_err_t message_send(struct broker *b, struct outbox_job *job);
void message_on_report(rd_kafka_t *rk, const rd_kafka_message_t *report, void *opaque);
void message_forget(struct outbox_client *c, struct outbox_job *job);

/* inquiry.c */
/* Asks for the fixed topic, if there is one, until until_us. */
int inquiry_make(struct broker *b, int64_t until_us, struct outbox_err *err);

/* link.c: by the thread, under the lock */
int link_make(struct broker *b, struct outbox_err *err);
/* The producer is given up, and ended by another thread. */
void link_drop(struct broker *b);
/* Whoever uses it last ends it, which may take long. */
void link_unref(struct link *link);
/* Has a thread do it; 0, or an errno. EAGAIN: too many wait already. */
int link_spawn(struct broker *b, void (*work)(void *arg), void *arg);
/* Ends the producer, and waits for all threads; without the lock. */
void link_end(struct broker *b);
/* Waits for something to do, at most until until_us, and does what the producer has. */
void link_step(struct broker *b, int fd, int64_t until_us);

/* broker.c: the shared state */
int broker_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                struct outbox_err *err);
