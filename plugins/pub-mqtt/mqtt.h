/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mqtt.h - what the parts of pub-mqtt share.
 *
 * All workers of a section use one client, as <outbox/client.h> has it. Its thread is the only one
 * that calls libmosquitto, with the lock held but for the look-up of the host's name, which may
 * take long.
 */
#pragma once

#include <outbox/client.h>
#include <outbox/plugin.h>
#include <outbox/template.h>
#include <outbox/url.h>

#include <mosquitto.h>

#define TOPIC_MAX 65535

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

struct broker {
    struct outbox_client client; /* is_connected is the thread's, too */
    struct settings settings;
    /* the thread's */
    struct mosquitto *mosq; /* NULL: no connection is begun */
    int connack;            /* -1: none yet */
    int gone;               /* the connection has ended: MOSQ_ERR_, or an MQTT 5 reason code */
    char why[256];
    char log[256]; /* the last complaint of the library */
    uint32_t window;
    char topic[TOPIC_MAX + 1];
};

/* settings.c */
int settings_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  struct settings *set, struct outbox_err *err);

/* message.c: under the lock, by the thread */
/* 0, or MOSQ_ERR_ if the connection has failed. */
int message_send(struct broker *b, struct outbox_job *job);
void message_on_answer(struct mosquitto *mosq, void *obj, int mid, int code,
                       const mosquitto_property *props);

/* connection.c: under the lock, by the thread */
int connection_make(struct broker *b, struct outbox_err *err);
void connection_drop(struct broker *b);
/* Waits for something to do, at most until until_us, and does what the connection has. */
void connection_step(struct broker *b, int64_t until_us);

/* broker.c: the shared state */
int broker_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                struct outbox_err *err);
