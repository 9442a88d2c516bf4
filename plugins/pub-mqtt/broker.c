/* SPDX-License-Identifier: Apache-2.0 */
/* broker.c - the thread of the client: it connects when there is something to do, and sends. Its
 * beginning and end. */
#include "mqtt.h"

#include <mqtt_protocol.h>

/* ---- a lost connection ---- */

static int is_about_message(int code)
{
    return code == MQTT_RC_MALFORMED_PACKET || code == MQTT_RC_PROTOCOL_ERROR ||
           code == MQTT_RC_TOPIC_NAME_INVALID || code == MQTT_RC_PACKET_TOO_LARGE ||
           code == MQTT_RC_PAYLOAD_FORMAT_INVALID ||
           code == MOSQ_ERR_PROTOCOL; /* the library does not take the broker's answer to it */
}

static void lost(struct broker *b)
{
    struct outbox_err err = {.size = sizeof err};
    outbox_fail(&err, OUTBOX_E_RETRY, "the connection has ended: %s", b->why);
    connection_drop(b);
    outbox_client_lost(&b->client, &err, is_about_message(b->gone));
}

/* ---- the thread ---- */

static void connect_if_wanted(struct broker *b)
{
    struct outbox_err err = {.size = sizeof err};
    if (!outbox_client_is_wanted(&b->client))
        return;
    if (b->client.is_connected || connection_make(b, &err) == OUTBOX_OK)
        outbox_client_connected(&b->client);
    else
        outbox_client_failed(&b->client, &err);
}

static void send_queued(struct broker *b)
{
    struct outbox_job *job;
    while (!b->gone && b->client.sent.n < b->window &&
           (job = outbox_client_next(&b->client)) != NULL) {
        int rc = message_send(b, job);
        if (rc != 0 && !b->gone) {
            b->gone = rc;
            snprintf(b->why, sizeof b->why, "%s", mosquitto_strerror(rc));
        }
    }
}

static void serve(struct broker *b)
{
    struct outbox_client *c = &b->client;
    int64_t until_us;
    send_queued(b);
    until_us = outbox_client_answer_until_us(c, b->settings.publish_us);
    if (!b->gone)
        connection_step(b, until_us);
    if (c->ending)
        return;
    until_us = outbox_client_answer_until_us(c, b->settings.publish_us);
    if (!b->gone && until_us <= outbox_client_now_us(c)) {
        b->gone = MOSQ_ERR_TIMEOUT;
        snprintf(b->why, sizeof b->why, "no confirm within publish_timeout");
    }
    if (b->gone)
        lost(b);
}

static void run(struct outbox_client *c)
{
    struct broker *b = (struct broker *)c;
    while (!c->ending) {
        connect_if_wanted(b);
        if (c->is_connected)
            serve(b);
        else if (!c->ending && !outbox_client_is_wanted(c))
            connection_step(b, INT64_MAX);
    }
    connection_drop(b);
}

/* ---- its life ---- */

static void destroy(struct outbox_client *c)
{
    struct broker *b = (struct broker *)c;
    outbox_url_clear(&b->settings.url);
    free(b);
}

static void init_library(void)
{
    mosquitto_lib_init(); /* for the life of the process: others may use the library, too */
}

int broker_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                struct outbox_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct broker *b = calloc(1, sizeof *b);
    int r;
    if (!b)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    pthread_once(&once, init_library);
    b->client.run = run;
    b->client.destroy = destroy;
    r = settings_read(host, cfg, &b->settings, err);
    if (r == OUTBOX_OK)
        r = outbox_client_start(&b->client, host, cfg, err);
    if (r < 0)
        destroy(&b->client);
    else
        *ret = b;
    return r;
}
