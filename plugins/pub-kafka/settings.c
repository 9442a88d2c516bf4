/* SPDX-License-Identifier: Apache-2.0 */
/* settings.c - what the options say. */
#include "kafka.h"

static const char *text_of(const struct outbox_host *host, const struct outbox_cfg *cfg,
                           const char *name)
{
    struct outbox_str text = host->option_text(cfg, name);
    return text.n > 0 ? text.p : NULL;
}

static int read_url(const struct outbox_host *host, const struct outbox_cfg *cfg,
                    struct settings *set, struct outbox_err *err)
{
    static const struct outbox_url_scheme schemes[] = {
        {"kafka", 9092}, {"kafkas", 9093}, {NULL, 0}};
    int has_password = host->option_is_set(cfg, "password") != 0;
    int r = outbox_url_parse("url", host->option_text(cfg, "url").p, schemes, &set->url, err);
    if (r < 0)
        return r;
    if (set->url.path && *set->url.path)
        return outbox_fail_option(err, "url", "url: Kafka has nothing that stands behind the `/`");
    if (has_password && set->url.has_password)
        return outbox_fail_option(err, "password", "password: url has one, too");
    if (has_password && !set->url.has_user)
        return outbox_fail_option(err, "password", "password: url names no user");
    if (set->url.has_user && !has_password && !set->url.has_password)
        return outbox_fail_option(err, "url", "url: the user has no password; set password_file");
    if (host->option_is_set(cfg, "sasl_mechanism") && !set->url.has_user)
        return outbox_fail_option(err, "sasl_mechanism", "sasl_mechanism: url names no user");
    set->mechanism = host->option_text(cfg, "sasl_mechanism").p;
    set->tls = set->url.scheme == 1;
    return OUTBOX_OK;
}

static int read_tls(const struct outbox_host *host, const struct outbox_cfg *cfg,
                    struct settings *set, struct outbox_err *err)
{
    return outbox_tls_options(host, cfg, set->tls ? NULL : "kafkas://", &set->ca_file,
                              &set->cert_file, &set->key_file, &set->tls_verify, err);
}

static int read_topic(const struct outbox_host *host, const struct outbox_cfg *cfg,
                      struct settings *set, struct outbox_err *err)
{
    struct outbox_str text = host->option_text(cfg, "topic");
    int r = outbox_template_parse("topic", text.p, &set->topic, err);
    if (r < 0)
        return r;
    if (text.n == 0)
        return outbox_fail_option(err, "topic", "topic: it is empty");
    set->restricted = host->option_count(cfg, "allow_topics") > 0;
    if (!set->topic.fixed)
        return OUTBOX_OK;
    if (!kafka_is_topic(text.p))
        return outbox_fail_option(err, "topic",
                                  "topic: a topic of Kafka has at most %d letters, digits, `.`, "
                                  "`_` and `-`",
                                  TOPIC_MAX);
    if (set->restricted && !outbox_template_allows(host, cfg, "allow_topics", text.p))
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
        r = read_topic(host, cfg, set, err);
    if (r < 0)
        return r;
    set->id_header = text_of(host, cfg, "id_header");
    set->created = strcmp(host->option_text(cfg, "timestamp").p, "created") == 0;
    set->window = (uint32_t)host->option_int(cfg, "window");
    set->connect_us = host->option_int(cfg, "connect_timeout") * 1000;
    set->publish_us = host->option_int(cfg, "publish_timeout") * 1000;
    if (host->publish_ms > 0)
        set->publish_us = earlier(set->publish_us, (int64_t)host->publish_ms * 1000);
    return OUTBOX_OK;
}
