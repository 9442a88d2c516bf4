/* SPDX-License-Identifier: Apache-2.0 */
#include "settings.h"

#include "section.h"

#include <outbox/helpers.h>

#include <stdlib.h>
#include <string.h>

static const char *const modes[] = {"pubsub", "queue", NULL};
/* In the order of enum declare. */
static const char *const declares[] = {"none", "passive", "create", NULL};
static const char *const queue_types[] = {"classic", "quorum", "stream", NULL};
static const char *const auths[] = {"plain", "external", NULL};
static const char *const header_types[] = {"text", "json", NULL};

/* A hundred years. */
#define STREAM_AGE_MAX INT64_C(3155760000000)

#define TEXT OUTBOX_OPT_TEXT
const struct outbox_option settings_options[] = {
    {"url", NULL, "amqp://USER@HOST:PORT,HOST:PORT/VHOST, or amqps:// for TLS.", NULL, 0, 0, TEXT,
     OUTBOX_OPT_REQUIRED | OUTBOX_OPT_MAY_BE_SECRET},
    {"password", NULL, "The user's password; instead of one in `url`.", NULL, 0, 0, TEXT,
     OUTBOX_OPT_SECRET},
    {"auth", "plain", "plain: by user and password; external: by the certificate, amqps only.",
     auths, 0, 0, OUTBOX_OPT_CHOICE, 0},
    {"mode", "pubsub", "pubsub: an exchange, every bound queue gets a copy; queue: one work queue.",
     modes, 0, 0, OUTBOX_OPT_CHOICE, 0},
    {"exchange", NULL, "mode = pubsub: its name; may hold {topic}, {key}, {header.NAME}.", NULL, 0,
     0, TEXT, 0},
    {"allow_exchanges", NULL, "Patterns that an exchange named by messages must match.", NULL, 0, 0,
     OUTBOX_OPT_LIST, 0},
    {"routing_key", NULL, "mode = pubsub: as `exchange`; default: {topic}.", NULL, 0, 0, TEXT, 0},
    {"allow_routing_keys", NULL, "Patterns that a routing key named by messages must match.", NULL,
     0, 0, OUTBOX_OPT_LIST, 0},
    {"queue", NULL, "mode = queue: its name; as `exchange`.", NULL, 0, 0, TEXT, 0},
    {"allow_queues", NULL, "Patterns that a queue named by messages must match.", NULL, 0, 0,
     OUTBOX_OPT_LIST, 0},
    {"declare", "none",
     "none; passive: check that it exists; create: create it if it does not exist.", declares, 0, 0,
     OUTBOX_OPT_CHOICE, 0},
    {"exchange_type", "topic",
     "declare = create: direct, fanout, topic, headers, or the type of a broker's plugin.", NULL, 0,
     0, TEXT, 0},
    {"queue_type", "classic", "declare = create: classic, quorum or stream.", queue_types, 0, 0,
     OUTBOX_OPT_CHOICE, 0},
    {"stream_max_bytes", NULL, "queue_type = stream: the size at which its oldest part is deleted.",
     NULL, 1, INT64_MAX, OUTBOX_OPT_SIZE, 0},
    {"stream_max_age", NULL, "queue_type = stream: the age at which its oldest part is deleted.",
     NULL, 1000, STREAM_AGE_MAX, OUTBOX_OPT_DURATION, 0},
    {"mandatory", "yes", "The broker returns a message that no queue gets; it is not delivered.",
     NULL, 0, 0, OUTBOX_OPT_BOOL, 0},
    {"persistent", "yes", "Messages in durable queues survive a restart of the broker.", NULL, 0, 0,
     OUTBOX_OPT_BOOL, 0},
    {"header_types", "text", "text; json: headers leave as what their JSON is.", header_types, 0, 0,
     OUTBOX_OPT_CHOICE, 0},
    {"json_headers", NULL, "header_types = json: patterns of their names; default: all.", NULL, 0,
     0, OUTBOX_OPT_LIST, 0},
    {"properties", NULL, "Properties of AMQP, made of the message: `priority`, `reply-to`, ...",
     NULL, 0, 0, OUTBOX_OPT_PREFIX, 0},
    {"ca_file", NULL, "amqps: the authorities to trust, PEM; default: those of the system.", NULL,
     0, 0, TEXT, 0},
    {"cert_file", NULL, "amqps: the relay's certificate and its chain, PEM.", NULL, 0, 0, TEXT, 0},
    {"key_file", NULL, "amqps: its key, PEM, without a password.", NULL, 0, 0, TEXT, 0},
    {"tls_verify", "yes", "amqps: whether to verify the broker's certificate and name.", NULL, 0, 0,
     OUTBOX_OPT_BOOL, 0},
    {"heartbeat", "20s", "A broker that sends nothing for two of them is dead; 0: none.", NULL, 0,
     3600000, OUTBOX_OPT_DURATION, 0},
    {"connect_timeout", "5s",
     "For one host: its name, TCP, TLS and the login; as long again for the channel and the "
     "destination.",
     NULL, 10, 600000, OUTBOX_OPT_DURATION, 0},
    {"confirm_timeout", "10s", "How long a message may wait for its confirm.", NULL, 10, 3600000,
     OUTBOX_OPT_DURATION, OUTBOX_OPT_BELOW_BATCH_TIMEOUT},
    {"window", "1000", "How many messages may be unconfirmed.", NULL, 1, 65535, OUTBOX_OPT_INT, 0},
};
#undef TEXT

/* ---- what to publish to ---- */

/* What may become of names that come from messages has to be listed. */
static int check_allowed(const struct section *in, const char *option,
                         const struct outbox_template *names)
{
    /* The headers CC and BCC may name queues, too. */
    bool of_queues = strcmp(option, "allow_queues") == 0;
    uint64_t n = in->host->option_count(in->cfg, option);
    if (names->fixed && n > 0 && !of_queues)
        return outbox_fail_option(
            in->err, option, "%s: only for an option `%s` that takes something from the message",
            option, names->option);
    if (!names->fixed && n == 0)
        return outbox_fail_option(
            in->err, names->option,
            "%s: `%s` takes something from the message, so the names that it may "
            "become must be listed here",
            option, names->option);
    return OUTBOX_OK;
}

/* The exchange and its routing keys, or the queue. */
static int read_names(const struct section *in, struct settings *s)
{
    static const struct {
        const char *name;
        bool queue_mode;
    } own[] = {{"exchange", false},           {"routing_key", false}, {"allow_exchanges", false},
               {"allow_routing_keys", false}, {"queue", true},        {"allow_queues", true}};
    const char *name = s->queue_mode ? "queue" : "exchange";
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (own[i].queue_mode != s->queue_mode &&
            (section_is_set(in, own[i].name) || in->host->option_count(in->cfg, own[i].name) > 0))
            return outbox_fail_option(in->err, own[i].name, "%s: only with mode = %s", own[i].name,
                                      modes[own[i].queue_mode]);
    if (!section_is_set(in, name))
        return outbox_fail_option(in->err, "mode", "%s: mode = %s needs its name", name,
                                  modes[s->queue_mode]);
    const char *key =
        section_is_set(in, "routing_key") ? section_text(in, "routing_key") : "{topic}";
    int r = template_parse("exchange", s->queue_mode ? "" : section_text(in, name), &s->exchange,
                           in->err);
    if (r == 0)
        r = s->queue_mode ? template_parse(name, section_text(in, name), &s->key, in->err)
                          : template_parse("routing_key", key, &s->key, in->err);
    return r < 0 ? r
                 : check_allowed(in, s->queue_mode ? "allow_queues" : "allow_exchanges",
                                 settings_destination(s));
}

static int read_declare(const struct section *in, struct settings *s)
{
    const struct outbox_template *names = settings_destination(s);
    int r = section_copy(in, "exchange_type", &s->exchange_type);
    if (r < 0)
        return r;
    while (strcmp(section_text(in, "declare"), declares[s->declare]) != 0)
        s->declare++;
    s->queue_type = section_text(in, "queue_type");
    if (s->declare != DECLARE_NONE && !names->fixed)
        return outbox_fail_option(
            in->err, "declare",
            "declare: not with an option `%s` that takes something from the message",
            names->option);
    const char *type = s->exchange_type ? s->exchange_type : "";
    const char *fault = *type ? short_fault(type, strlen(type)) : "is empty";
    return fault ? outbox_fail_option(in->err, "exchange_type", "exchange_type: it %s", fault)
                 : OUTBOX_OK;
}

/* Only a stream has these, and only one that the relay makes. */
static int read_stream(const struct section *in, struct settings *s)
{
    static const char *const options[] = {"stream_max_bytes", "stream_max_age"};
    bool makes =
        s->queue_mode && s->declare == DECLARE_CREATE && strcmp(s->queue_type, "stream") == 0;
    for (size_t i = 0; i < 2; i++)
        if (!makes && in->host->option_is_set(in->cfg, options[i]))
            return outbox_fail_option(
                in->err, options[i],
                "%s: only with mode = queue, declare = create and queue_type = stream", options[i]);
    s->stream_max_bytes = section_int(in, "stream_max_bytes");
    int64_t ms = section_int(in, "stream_max_age");
    s->stream_max_age_s = ms == OUTBOX_NEVER ? 0 : (ms + 999) / 1000;
    return OUTBOX_OK;
}

static int read_headers(const struct section *in, struct settings *s)
{
    uint64_t n = in->host->option_count(in->cfg, "json_headers");
    s->json_headers = strcmp(section_text(in, "header_types"), "json") == 0;
    s->all_headers = n == 0;
    return s->json_headers || n == 0
               ? properties_read(in->host, in->cfg, &s->properties, in->err)
               : outbox_fail_option(in->err, "json_headers",
                                    "json_headers: only with header_types = json");
}

int settings_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  struct settings *ret, struct outbox_err *err)
{
    const struct section in = {host, cfg, err};
    ret->host = host;
    ret->cfg = cfg;
    ret->queue_mode = strcmp(section_text(&in, "mode"), "queue") == 0;
    ret->mandatory = section_int(&in, "mandatory") != 0;
    ret->persistent = section_int(&in, "persistent") != 0;
    ret->confirm_us = section_int(&in, "confirm_timeout") * 1000;
    ret->connect_us = section_int(&in, "connect_timeout") * 1000;
    ret->window = (uint32_t)section_int(&in, "window");
    int r = read_names(&in, ret);
    ret->limits_keys = host->option_count(cfg, "allow_routing_keys") > 0;
    if (r == 0)
        r = read_declare(&in, ret);
    if (r == 0)
        r = read_stream(&in, ret);
    return r < 0 ? r : read_headers(&in, ret);
}

void settings_free(struct settings *s)
{
    free(s->exchange_type);
    *s = (struct settings){0};
}
