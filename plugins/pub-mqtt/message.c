/* SPDX-License-Identifier: Apache-2.0 */
/* message.c - from a message to a PUBLISH, and from its answer to an outcome. */
#include "mqtt.h"

#include <mqtt_protocol.h>

/* How long to wait when the broker has a quota, ms. */
#define QUOTA_MS 5000

/* Makes the topic in b->topic. OUTBOX_E_CONFIG: never, with the reason. */
static int make_topic(struct broker *b, const struct outbox_message *msg, struct outbox_err *err)
{
    struct outbox_message mapped = *msg;
    char *slashed = NULL;
    size_t n = 0;
    int r;
    if (b->settings.slashes && msg->topic.n > 0) {
        slashed = malloc((size_t)msg->topic.n);
        if (!slashed)
            return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
        for (uint64_t i = 0; i < msg->topic.n; i++)
            slashed[i] = msg->topic.p[i] == '.' ? '/' : msg->topic.p[i];
        mapped.topic.p = slashed;
    }
    r = outbox_template_render(&b->settings.topic, &mapped, b->topic, sizeof b->topic, &n, err);
    free(slashed);
    if (r < 0)
        return r;
    if (n == 0 || strlen(b->topic) != n)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the topic %s", n == 0 ? "is empty" : "has a NUL");
    if (strpbrk(b->topic, "+#"))
        return outbox_fail(err, OUTBOX_E_CONFIG, "the topic `%.80s` has a `+` or `#`", b->topic);
    if (mosquitto_validate_utf8(b->topic, (int)n) != MOSQ_ERR_SUCCESS)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the topic is no UTF-8, or has a control character");
    if (b->settings.restricted &&
        !outbox_template_allows(b->client.host, b->client.cfg, "allow_topics", b->topic))
        return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is not among allow_topics", b->topic);
    /* $SYS and the like are the broker's: a person has to allow them. */
    if (*b->topic == '$' && !b->settings.restricted && b->settings.topic.text[0] != '$')
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the topic `%.80s` begins with a `$` and is not among allow_topics",
                           b->topic);
    return OUTBOX_OK;
}

/* A user property, or the content type if there is no name. */
static int add_property(mosquitto_property **props, const char *name, struct outbox_str value,
                        struct outbox_err *err)
{
    const char *label = name ? name : "content-type";
    char *text = malloc((size_t)value.n + 1);
    int rc;
    if (!text)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (value.n > 0)
        memcpy(text, value.p, (size_t)value.n);
    text[value.n] = '\0';
    if (strlen(text) != value.n || value.n > 65535 || strlen(label) > 65535)
        rc = MOSQ_ERR_INVAL;
    else if (name)
        rc = mosquitto_property_add_string_pair(props, MQTT_PROP_USER_PROPERTY, name, text);
    else
        rc = mosquitto_property_add_string(props, MQTT_PROP_CONTENT_TYPE, text);
    free(text);
    if (rc == MOSQ_ERR_NOMEM)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (rc == MOSQ_ERR_MALFORMED_UTF8)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the property `%.80s` is no UTF-8, or has a control character", label);
    if (rc != MOSQ_ERR_SUCCESS)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the property `%.80s` has a NUL or more than 65535 bytes", label);
    return OUTBOX_OK;
}

static int is_ours(const struct settings *set, const char *name)
{
    return (set->id_property && strcmp(name, set->id_property) == 0) ||
           (set->key_property && strcmp(name, set->key_property) == 0);
}

static int make_properties(const struct settings *set, const struct outbox_message *msg,
                           mosquitto_property **props, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    if (set->protocol != MQTT_PROTOCOL_V5)
        return r;
    if (set->id_property)
        r = add_property(props, set->id_property, msg->id, err);
    if (r == OUTBOX_OK && set->key_property && msg->key.n > 0)
        r = add_property(props, set->key_property, msg->key, err);
    for (uint64_t i = 0; r == OUTBOX_OK && i < msg->n_headers; i++) {
        const struct outbox_header *h = &msg->headers[i];
        if (strlen(h->name.p) != h->name.n)
            r = outbox_fail(err, OUTBOX_E_CONFIG, "the name of a header has a NUL");
        else if (!is_ours(set, h->name.p))
            r = add_property(props, strcmp(h->name.p, "content-type") == 0 ? NULL : h->name.p,
                             h->value, err);
    }
    return r;
}

/* What the library says to a message. 0, or the connection has failed. */
static int take_refusal(struct broker *b, struct outbox_job *job, int rc)
{
    switch (rc) {
    case MOSQ_ERR_PAYLOAD_SIZE:
    case MOSQ_ERR_OVERSIZE_PACKET:
        outbox_job_done(&b->client, job, OUTBOX_REJECTED, 0,
                        "the message is larger than the broker takes");
        return 0;
    case MOSQ_ERR_INVAL:
    case MOSQ_ERR_MALFORMED_UTF8:
        outbox_job_done(&b->client, job, OUTBOX_REJECTED, 0, "it is no message of MQTT: %s",
                        mosquitto_strerror(rc));
        return 0;
    default:
        return rc;
    }
}

int message_send(struct broker *b, struct outbox_job *job)
{
    const struct outbox_message *msg = job->msg;
    mosquitto_property *props = NULL;
    struct outbox_err err = {.size = sizeof err};
    int rc, r = make_topic(b, msg, &err);
    if (r == OUTBOX_OK)
        r = make_properties(&b->settings, msg, &props, &err);
    if (r < 0 || msg->payload.n > MQTT_MAX_PAYLOAD) {
        outbox_job_done(&b->client, job, r == OUTBOX_E_RETRY ? OUTBOX_LATER : OUTBOX_REJECTED, 0,
                        "%s", r < 0 ? err.text : "MQTT has no messages of more than 256 MiB");
        mosquitto_property_free_all(&props);
        return 0;
    }
    outbox_client_sent(&b->client, job);
    /* Of QoS 0, message_on_answer may be called in here. */
    rc = mosquitto_publish_v5(b->mosq, &job->id, b->topic, (int)msg->payload.n, msg->payload.p,
                              b->settings.qos, b->settings.retain, props);
    mosquitto_property_free_all(&props);
    return rc == MOSQ_ERR_SUCCESS ? 0 : take_refusal(b, job, rc);
}

/* ---- answers ---- */

static void take_answer(struct broker *b, struct outbox_job *job, int code, const char *why)
{
    uint32_t verdict = OUTBOX_RETRY, after_ms = 0;
    if (code == MQTT_RC_NO_MATCHING_SUBSCRIBERS && b->settings.mandatory) {
        outbox_job_done(&b->client, job, OUTBOX_RETRY, 0, "nobody subscribes to its topic");
        return;
    }
    if (code < 128) {
        outbox_job_done(&b->client, job, OUTBOX_ACCEPTED, 0, NULL);
        return;
    }
    switch (code) {
    case MQTT_RC_TOPIC_NAME_INVALID:
    case MQTT_RC_PACKET_TOO_LARGE:
    case MQTT_RC_PAYLOAD_FORMAT_INVALID:
        verdict = OUTBOX_REJECTED;
        break;
    case MQTT_RC_QUOTA_EXCEEDED:
    case MQTT_RC_PACKET_ID_IN_USE:
        verdict = OUTBOX_LATER;
        after_ms = QUOTA_MS;
        break;
    case MQTT_RC_NOT_AUTHORIZED:
        /* All messages have that topic: nothing is wrong with this one. */
        if (b->settings.topic.fixed)
            verdict = OUTBOX_UNAVAILABLE;
        break;
    default:
        break;
    }
    outbox_job_done(&b->client, job, verdict, after_ms, "the broker refuses it: %s (%d)%s%.200s",
                    mosquitto_reason_string(code), code, why ? ": " : "", why ? why : "");
}

void message_on_answer(struct mosquitto *mosq, void *obj, int mid, int code,
                       const mosquitto_property *props)
{
    struct broker *b = obj;
    struct outbox_job *job = b->client.sent.first; /* most answers come in order */
    char *why = NULL;
    (void)mosq;
    while (job && job->id != mid)
        job = job->next;
    if (!job)
        return; /* nobody waits for it any longer */
    if (code >= 128)
        mosquitto_property_read_string(props, MQTT_PROP_REASON_STRING, &why, false);
    take_answer(b, job, code, why);
    free(why);
}
