/* SPDX-License-Identifier: Apache-2.0 */
/* configure.c - what the library is told: what people may change, what they have set by
 * kafka.NAME, and what the promises of this plugin hang on. */
#include "kafka.h"

#include <unistd.h>

/* Settings that are the plugin's. One with a `.` or `_` at its end stands for all that begin so. */
static const struct {
    const char *name, *instead;
} ours[] = {
    {"bootstrap.servers", "url"},
    {"metadata.broker.list", "url"},
    {"security.protocol", "url"},
    {"sasl.username", "url"},
    {"sasl.password", "password_file"},
    {"sasl.mechanism", "sasl_mechanism"},
    {"sasl.mechanisms", "sasl_mechanism"},
    {"ssl.ca.location", "ca_file"},
    {"ssl.certificate.location", "cert_file"},
    {"ssl.key.location", "key_file"},
    {"enable.ssl.certificate.verification", "tls_verify"},
    {"ssl.endpoint.identification.algorithm", "tls_verify"},
    {"message.timeout.ms", "publish_timeout"},
    {"delivery.timeout.ms", "publish_timeout"},
    {"queue.buffering.max.messages", "window"},
    {"acks", NULL},
    {"request.required.acks", NULL},
    {"enable.idempotence", NULL},
    {"enable.gapless.guarantee", NULL},
    {"message.send.max.retries", NULL},
    {"retries", NULL},
    {"transactional.id", NULL},
    {"delivery.report.only.error", NULL},
    {"enabled_events", NULL},
    {"log.queue", NULL},
    {"internal.termination.signal", NULL},
    {"interceptors", NULL},
    {"plugin.", NULL}, /* code */
    {"ssl.engine.", NULL},
    {"ssl_", NULL},
    {"ssl.providers", NULL},
    {"ssl.ca.", NULL}, /* files and secrets */
    {"ssl.crl.", NULL},
    {"ssl.certificate.", NULL},
    {"ssl.key.", NULL},
    {"ssl.keystore.", NULL},
    {"https.", NULL},
    {"sasl.", NULL}, /* commands, too */
    {"enable.sasl.", NULL},
    {"test.", NULL},
};

static int is_ours(size_t i, const char *key)
{
    size_t n = strlen(ours[i].name);
    char last = ours[i].name[n - 1];
    return last == '.' || last == '_' ? strncmp(key, ours[i].name, n) == 0
                                      : strcmp(key, ours[i].name) == 0;
}

static int refuse_ours(const char *option, const char *key, struct outbox_err *err)
{
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (!is_ours(i, key))
            continue;
        if (ours[i].instead)
            return outbox_fail_option(err, option, "%s: set %s instead", option, ours[i].instead);
        return outbox_fail_option(err, option, "%s: this one cannot be set", option);
    }
    return OUTBOX_OK;
}

/* ---- one setting ---- */

static int set_text(rd_kafka_conf_t *conf, const char *name, const char *value,
                    struct outbox_err *err)
{
    char why[400];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
        return OUTBOX_OK;
    return outbox_fail(err, OUTBOX_E_CONFIG, "%s: %s", name, why);
}

static int set_number(rd_kafka_conf_t *conf, const char *name, int64_t value,
                      struct outbox_err *err)
{
    char text[24];
    return set_text(conf, name, outbox_int_text(value, text).p, err);
}

struct pair {
    const char *name, *value;
};

static int set_all(rd_kafka_conf_t *conf, const struct pair *pairs, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    for (; pairs->name && r == OUTBOX_OK; pairs++)
        if (pairs->value)
            r = set_text(conf, pairs->name, pairs->value, err);
    return r;
}

/* ---- groups of them ---- */

/* What kafka.NAME may change. The partitioner is that of the clients in Java. */
static int set_defaults(const struct broker *b, rd_kafka_conf_t *conf, struct outbox_err *err)
{
    static const struct pair pairs[] = {
        {"client.id", "outboxd"},
        {"partitioner", "murmur2_random"},
        {"reconnect.backoff.max.ms", "1000"},
        {"topic.metadata.refresh.interval.ms", "10000"}, /* so soon a new topic is found */
        {"socket.keepalive.enable", "true"},
        {"socket.nagle.disable", "true"},
        {"log.connection.close", "false"},
        {NULL, NULL},
    };
    int64_t connect_ms = b->settings.connect_us / 1000;
    int r = set_all(conf, pairs, err);
    /* Since librdkafka 2.5; the end of a producer would wait for it for a second. */
    rd_kafka_conf_set(conf, "enable.metrics.push", "false", NULL, 0);
    if (r == OUTBOX_OK)
        r = set_number(conf, "socket.connection.setup.timeout.ms",
                       connect_ms < 1000 ? 1000 : connect_ms, err);
    /* A missing topic is told before the time of its messages is over. */
    if (r == OUTBOX_OK)
        r = set_number(conf, "topic.metadata.propagation.max.ms",
                       earlier(5000, b->settings.publish_us / 2000), err);
    return r;
}

static int set_free(const struct broker *b, rd_kafka_conf_t *conf, struct outbox_err *err)
{
    const struct outbox_host *host = b->client.host;
    const struct outbox_cfg *cfg = b->client.cfg;
    for (uint64_t i = 0; i < host->option_count(cfg, "kafka"); i++) {
        const char *key = host->option_key(cfg, "kafka", i).p;
        char option[64], why[400];
        int r;
        snprintf(option, sizeof option, "kafka.%s", key);
        r = refuse_ours(option, key, err);
        if (r < 0)
            return r;
        if (rd_kafka_conf_set(conf, key, host->option_item(cfg, "kafka", i).p, why, sizeof why) !=
            RD_KAFKA_CONF_OK)
            return outbox_fail_option(err, option, "%s: %s", option, why);
    }
    return OUTBOX_OK;
}

static int set_promises(const struct broker *b, rd_kafka_conf_t *conf, struct outbox_err *err)
{
    static const struct pair pairs[] = {
        {"enable.idempotence", "true"}, {"acks", "all"}, {"log.queue", "true"}, {NULL, NULL}};
    int r = set_all(conf, pairs, err);
    if (r == OUTBOX_OK)
        r = set_number(conf, "message.timeout.ms", b->settings.publish_us / 1000, err);
    /* Those whose time is over are still the library's for a while. */
    if (r == OUTBOX_OK)
        r = set_number(conf, "queue.buffering.max.messages", (int64_t)b->settings.window * 2, err);
    if (r == OUTBOX_OK && b->alone)
        r = set_text(conf, "batch.num.messages", "1", err);
    return r;
}

static int set_servers(const struct broker *b, rd_kafka_conf_t *conf, struct outbox_err *err)
{
    const struct outbox_url *url = &b->settings.url;
    char text[OUTBOX_URL_HOSTS * (OUTBOX_URL_TEXT + 9)] = "";
    size_t n = 0;
    for (uint32_t i = 0; i < url->n_hosts && n < sizeof text; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i > 0 ? "," : "",
                              url->hosts[i].peer);
    return set_text(conf, "bootstrap.servers", text, err);
}

/* The library's own texts about files are OpenSSL's. */
static int look_at_files(const struct settings *set, struct outbox_err *err)
{
    const struct pair files[] = {
        {"ca_file", set->ca_file}, {"cert_file", set->cert_file}, {"key_file", set->key_file}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (files[i].value && access(files[i].value, R_OK) < 0)
            return outbox_fail_option(err, files[i].name, "%s: %s: %s", files[i].name,
                                      files[i].value, strerror(errno));
    return set->key_file ? outbox_private_file("key_file", set->key_file, err) : OUTBOX_OK;
}

static int set_security(struct broker *b, rd_kafka_conf_t *conf, struct outbox_err *err)
{
    static const char *const protocols[] = {"plaintext", "ssl", "sasl_plaintext", "sasl_ssl"};
    const struct settings *set = &b->settings;
    int login = set->url.has_user != 0, verify = set->tls_verify;
    char mechanism[32];
    size_t n;
    int r;
    const struct pair tls[] = {
        {"ssl.ca.location", set->ca_file},
        {"ssl.certificate.location", set->cert_file},
        {"ssl.key.location", set->key_file},
        {"enable.ssl.certificate.verification", verify ? "true" : "false"},
        {"ssl.endpoint.identification.algorithm", verify ? "https" : "none"},
        {NULL, NULL},
    };
    const struct pair sasl[] = {{"sasl.mechanism", mechanism},
                                {"sasl.username", set->url.user},
                                {"sasl.password", b->password},
                                {NULL, NULL}};
    for (n = 0; n < sizeof mechanism - 1 && set->mechanism[n]; n++)
        mechanism[n] = set->mechanism[n] >= 'a' && set->mechanism[n] <= 'z'
                           ? (char)(set->mechanism[n] - 'a' + 'A')
                           : set->mechanism[n];
    mechanism[n] = '\0';
    r = look_at_files(set, err);
    if (r == OUTBOX_OK)
        r = set_text(conf, "security.protocol", protocols[set->tls + 2 * login], err);
    if (r == OUTBOX_OK && set->tls)
        r = set_all(conf, tls, err);
    if (r == OUTBOX_OK && login)
        r = set_all(conf, sasl, err);
    return r;
}

static int set_without_servers(const struct broker *b, rd_kafka_conf_t *conf,
                               struct outbox_err *err)
{
    int r = set_defaults(b, conf, err);
    if (r == OUTBOX_OK)
        r = set_free(b, conf, err);
    if (r == OUTBOX_OK)
        r = set_promises(b, conf, err);
    return r;
}

int configure(struct broker *b, rd_kafka_conf_t **ret, struct outbox_err *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    int r = set_without_servers(b, conf, err);
    if (r == OUTBOX_OK)
        r = set_servers(b, conf, err);
    if (r == OUTBOX_OK)
        r = set_security(b, conf, err);
    if (r < 0)
        rd_kafka_conf_destroy(conf);
    else
        *ret = conf;
    return r;
}

static void no_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    (void)level;
    (void)facility;
    (void)text;
}

/* Some settings the library compares only when it makes a producer; this one knows no server. */
int configure_check(struct broker *b, struct outbox_err *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *rk;
    char why[400];
    int r = set_without_servers(b, conf, err);
    if (r < 0) {
        rd_kafka_conf_destroy(conf);
        return r;
    }
    rd_kafka_conf_set_log_cb(conf, no_log);
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!rk) {
        rd_kafka_conf_destroy(conf);
        return outbox_fail_option(err, "kafka", "kafka: %s", why);
    }
    rd_kafka_destroy(rk);
    return OUTBOX_OK;
}
