/* SPDX-License-Identifier: Apache-2.0 */
/* settings.c - what the options say. */
#include "mqtt.h"

#include <mqtt_protocol.h>
#include <unistd.h>

static const char *text_of(const struct outbox_host *host, const struct outbox_cfg *cfg,
                           const char *name)
{
    struct outbox_str text = host->option_text(cfg, name);
    return text.n > 0 ? text.p : NULL;
}

static int read_client_id(const struct outbox_host *host, const struct outbox_cfg *cfg,
                          struct settings *set, struct outbox_err *err)
{
    const char *id = text_of(host, cfg, "client_id");
    unsigned char bytes[4];
    if (!id)
        return outbox_fail_option(err, "client_id", "client_id: it is empty");
    if (strlen(id) > 128 || mosquitto_validate_utf8(id, (int)strlen(id)) != MOSQ_ERR_SUCCESS)
        return outbox_fail_option(err, "client_id",
                                  "client_id: it is longer than 128 bytes, or no UTF-8");
    if (!host->option_int(cfg, "client_id_suffix")) {
        snprintf(set->client_id, sizeof set->client_id, "%s", id);
        return OUTBOX_OK;
    }
    if (getentropy(bytes, sizeof bytes) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "there are no random numbers");
    snprintf(set->client_id, sizeof set->client_id, "%s-%02x%02x%02x%02x", id, bytes[0], bytes[1],
             bytes[2], bytes[3]);
    return OUTBOX_OK;
}

static int read_url(const struct outbox_host *host, const struct outbox_cfg *cfg,
                    struct settings *set, struct outbox_err *err)
{
    static const struct outbox_url_scheme schemes[] = {{"mqtt", 1883}, {"mqtts", 8883}, {NULL, 0}};
    int r = outbox_url_parse("url", host->option_text(cfg, "url").p, schemes, &set->url, err);
    if (r < 0)
        return r;
    if (set->url.path && *set->url.path)
        return outbox_fail_option(err, "url", "url: MQTT has nothing that stands behind the `/`");
    if (host->option_is_set(cfg, "password") && set->url.has_password)
        return outbox_fail_option(err, "password", "password: url has one, too");
    if (host->option_is_set(cfg, "password") && !set->url.has_user)
        return outbox_fail_option(err, "password", "password: url names no user");
    set->tls = set->url.scheme == 1;
    return OUTBOX_OK;
}

static int read_tls(const struct outbox_host *host, const struct outbox_cfg *cfg,
                    struct settings *set, struct outbox_err *err)
{
    return outbox_tls_options(host, cfg, set->tls ? NULL : "mqtts://", &set->ca_file,
                              &set->cert_file, &set->key_file, &set->tls_verify, err);
}

static int read_topic(const struct outbox_host *host, const struct outbox_cfg *cfg,
                      struct settings *set, struct outbox_err *err)
{
    struct outbox_str text = host->option_text(cfg, "topic");
    int r = outbox_template_parse("topic", text.p, &set->topic, err);
    if (r < 0)
        return r;
    if (text.n == 0 || strpbrk(text.p, "+#"))
        return outbox_fail_option(err, "topic", "topic: it is empty, or has a `+` or `#`");
    set->slashes = host->option_int(cfg, "topic_slashes") != 0;
    set->restricted = host->option_count(cfg, "allow_topics") > 0;
    if (set->topic.fixed && set->restricted &&
        !outbox_template_allows(host, cfg, "allow_topics", text.p))
        return outbox_fail_option(err, "topic", "topic: it is not among allow_topics");
    return OUTBOX_OK;
}

int settings_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  struct settings *set, struct outbox_err *err)
{
    int r = read_url(host, cfg, set, err);
    if (r == OUTBOX_OK)
        r = read_tls(host, cfg, set, err);
    if (r == OUTBOX_OK)
        r = read_client_id(host, cfg, set, err);
    if (r == OUTBOX_OK)
        r = read_topic(host, cfg, set, err);
    if (r < 0)
        return r;
    set->protocol = strcmp(host->option_text(cfg, "protocol").p, "5") == 0 ? MQTT_PROTOCOL_V5
                                                                           : MQTT_PROTOCOL_V311;
    set->id_property = text_of(host, cfg, "id_property");
    set->key_property = text_of(host, cfg, "key_property");
    set->qos = (int)host->option_int(cfg, "qos");
    set->retain = host->option_int(cfg, "retain") != 0;
    set->mandatory = host->option_int(cfg, "mandatory") != 0;
    set->window = (uint32_t)host->option_int(cfg, "window");
    set->keepalive_s = (int)(host->option_int(cfg, "keepalive") / 1000);
    set->connect_us = host->option_int(cfg, "connect_timeout") * 1000;
    set->publish_us = host->option_int(cfg, "publish_timeout") * 1000;
    if (set->mandatory && (set->protocol != MQTT_PROTOCOL_V5 || set->qos != 1))
        return outbox_fail_option(err, "mandatory", "mandatory: it needs protocol 5 and qos 1");
    return OUTBOX_OK;
}
