/* SPDX-License-Identifier: Apache-2.0 */
/* look.c - what there is at the other side: does anybody answer us, does a stream take the subject,
 * and what does it promise? */
#include "broker.h"
#include "json.h"

#include <inttypes.h>

/* A message that comes again after so long a time is recognised, or it is warned. */
#define DUPLICATES_NS INT64_C(120000000000)

/* What it is asked. */
#define NAMES "$JS.API.STREAM.NAMES"
#define INFO "$JS.API.STREAM.INFO."

/* How long JetStream may take to say which stream takes a subject. */
#define WHY_US 2000000

static void found(struct broker *b, int code, const char *why)
{
    b->look = LOOK_NOTHING;
    b->looked.size = sizeof b->looked;
    b->looked.code = OUTBOX_OK;
    if (code < 0)
        outbox_fail(&b->looked, code, "%s", why);
}

static natsStatus ask_names(struct broker *b, const char *token)
{
    json_object *body = json_object_new_object();
    natsStatus s = NATS_NO_MEMORY;
    if (body && json_object_object_add(body, "subject", json_object_new_string(b->subject)) == 0)
        s = connection_ask(b, NAMES, token, json_object_to_json_string(body));
    json_object_put(body);
    return s;
}

static const char *stream_of(const struct broker *b)
{
    return b->found[0] ? b->found : b->settings.stream;
}

static void ask_info(struct broker *b)
{
    char subject[300];
    snprintf(subject, sizeof subject, INFO "%s", stream_of(b));
    b->look = LOOK_INFO;
    if (connection_ask(b, subject, "i", "") != NATS_OK)
        connection_end(b, OUTBOX_E_RETRY, "JetStream cannot be asked");
}

/* What comes behind the probe. */
static void look_on(struct broker *b)
{
    const struct settings *set = &b->settings;
    b->found[0] = '\0';
    if (b->api_forbidden || (!set->subject.fixed && !set->stream)) {
        found(b, OUTBOX_OK, "");
    } else if (!set->subject.fixed) {
        ask_info(b);
    } else {
        b->look = LOOK_NAMES;
        snprintf(b->subject, sizeof b->subject, "%s", set->subject.text);
        if (ask_names(b, "n") != NATS_OK)
            connection_end(b, OUTBOX_E_RETRY, "JetStream cannot be asked");
    }
}

/* To ourselves: it comes back when the server has taken our subscription, and is alive. */
void look_probe(struct broker *b)
{
    char subject[INBOX_MAX + 8];
    b->probed_us = outbox_client_now_us(&b->client);
    b->probe_until_us = INT64_MAX;
    if (b->probe_forbidden)
        return;
    b->probe_until_us = b->probed_us + b->settings.publish_us;
    snprintf(subject, sizeof subject, "%sp", b->inbox);
    if (natsConnection_Publish(b->nc, subject, NULL, 0) != NATS_OK)
        connection_end(b, OUTBOX_E_RETRY, "the connection is closed");
}

void look_begin(struct broker *b)
{
    found(b, OUTBOX_OK, "");
    look_probe(b);
    if (b->probe_forbidden)
        look_on(b);
    else
        b->look = LOOK_PROBE;
}

/* ---- answers ---- */

/* The name of a stream that takes the subject; NULL: there is none. */
static const char *first_name(json_object *root)
{
    json_object *streams = json_member(root, "streams", json_type_array);
    json_object *name = streams && json_object_array_length(streams) > 0
                            ? json_object_array_get_idx(streams, 0)
                            : NULL;
    return name ? json_object_get_string(name) : NULL;
}

static void take_names(struct broker *b, json_object *root)
{
    const char *name = first_name(root), *wanted = b->settings.stream;
    char text[400];
    if (!name) {
        snprintf(text, sizeof text,
                 "no stream takes the subject `%.80s`: JetStream has to have one",
                 b->settings.subject.text);
        found(b, OUTBOX_E_CONFIG, text);
    } else if (wanted && strcmp(name, wanted) != 0) {
        snprintf(text, sizeof text,
                 "the subject `%.80s` goes to the stream `%.80s`, not to `%.80s`",
                 b->settings.subject.text, name, wanted);
        found(b, OUTBOX_E_CONFIG, text);
    } else {
        snprintf(b->found, sizeof b->found, "%s", name);
        ask_info(b);
    }
}

static void warn(struct broker *b, const char *stream, json_object *config)
{
    json_object *window = json_member(config, "duplicate_window", json_type_int);
    int64_t ns = window ? json_object_get_int64(window) : 0;
    char text[sizeof b->warned];
    size_t n = 0;
    text[0] = '\0';
    if (strcmp(json_text(config, "storage"), "memory") == 0)
        n += (size_t)snprintf(text + n, sizeof text - n,
                              "; it is in memory: a restart of the server loses its messages");
    if (strcmp(json_text(config, "retention"), "interest") == 0)
        n += (size_t)snprintf(text + n, sizeof text - n,
                              "; its retention is `interest`: without consumers it drops messages");
    if (ns < DUPLICATES_NS)
        snprintf(text + n, sizeof text - n,
                 "; its duplicate_window is only %" PRId64
                 " s: a message that is sent again later arrives twice",
                 ns / 1000000000);
    if (*text && strcmp(text, b->warned) != 0)
        outbox_logf(b->client.host, OUTBOX_LOG_WARNING, "the stream `%.80s`%s", stream, text);
    snprintf(b->warned, sizeof b->warned, "%s", text);
}

static void take_info(struct broker *b, json_object *root)
{
    json_object *config = json_member(root, "config", json_type_object);
    json_object *no_ack = json_member(config, "no_ack", json_type_boolean);
    json_object *sealed = json_member(config, "sealed", json_type_boolean);
    const char *stream = stream_of(b);
    char text[400];
    if (no_ack && json_object_get_boolean(no_ack)) {
        snprintf(text, sizeof text, "the stream `%.80s` acknowledges nothing (no_ack)", stream);
        found(b, OUTBOX_E_CONFIG, text);
    } else if (sealed && json_object_get_boolean(sealed)) {
        snprintf(text, sizeof text, "the stream `%.80s` is sealed, and takes no message", stream);
        found(b, OUTBOX_E_CONFIG, text);
    } else {
        warn(b, stream, config);
        found(b, OUTBOX_OK, "");
    }
}

void look_take(struct broker *b, const struct answer *a)
{
    enum look expected = *a->token == 'p' ? LOOK_PROBE : *a->token == 'n' ? LOOK_NAMES : LOOK_INFO;
    json_object *root;
    char text[300];
    if (expected == LOOK_PROBE)
        b->probe_until_us = INT64_MAX;
    if (b->look != expected)
        return;
    if (expected == LOOK_PROBE) {
        look_on(b);
        return;
    }
    root = json_parse(a->text);
    if (a->none) {
        found(b, OUTBOX_E_RETRY, "JetStream does not answer: it is not enabled, or has no leader");
    } else if (!root || json_member(root, "error", json_type_object)) {
        struct json_error e = json_error_of(root);
        snprintf(text, sizeof text, "JetStream refuses to tell of the stream%s%.80s: %.100s (%d)",
                 expected == LOOK_INFO ? " " : "", expected == LOOK_INFO ? stream_of(b) : "",
                 e.text, e.err_code);
        found(b, e.code == 404 ? OUTBOX_E_CONFIG : OUTBOX_E_RETRY, text);
    } else if (expected == LOOK_NAMES) {
        take_names(b, root);
    } else {
        take_info(b, root);
    }
    json_object_put(root);
}

/* Whether it is one that JetStream is asked with; the server's text may be cut. */
static int is_question(const struct broker *b, const char *subject)
{
    size_t n = strlen(INFO);
    const char *stream = stream_of(b);
    return strcmp(subject, NAMES) == 0 ||
           (stream && strncmp(subject, INFO, n) == 0 && subject[n] != '\0' &&
            strncmp(subject + n, stream, strlen(subject + n)) == 0);
}

/* A user without the right to ask can publish all the same. */
void look_forbidden(struct broker *b, const char *subject)
{
    size_t n = strlen(b->inbox);
    if (strncmp(subject, b->inbox, n) == 0) {
        b->probe_forbidden = 1;
        b->probe_until_us = INT64_MAX;
        if (b->look == LOOK_PROBE)
            look_on(b);
        return;
    }
    if (!is_question(b, subject))
        return;
    b->api_forbidden = 1;
    for (struct outbox_job *job = b->client.sent.first, *next; job; job = next) {
        next = job->next;
        if (job->id == 1)
            outbox_job_done(&b->client, job, OUTBOX_RETRY, 0, "no stream takes its subject");
    }
    if (b->look == LOOK_NAMES || b->look == LOOK_INFO)
        found(b, OUTBOX_OK, "");
}

/* While a stream has no leader, nobody answers either: that is no fault of the message. */
void look_why(struct broker *b, struct outbox_job *job)
{
    struct outbox_err err = {.size = sizeof err};
    char token[32];
    snprintf(token, sizeof token, "q%" PRIu64, job->number);
    if (subject_make(b, job->msg, &err) < 0 || b->api_forbidden || ask_names(b, token) != NATS_OK) {
        outbox_job_done(&b->client, job, OUTBOX_RETRY, 0, "no stream takes the subject `%.80s`",
                        b->subject);
        return;
    }
    job->id = 1;
    if (b->why_until_us == INT64_MAX)
        b->why_until_us = outbox_client_now_us(&b->client) + WHY_US;
}

/* JetStream's API is silent while it has no leader itself. */
void look_why_expire(struct broker *b)
{
    struct outbox_job *next;
    if (b->why_until_us == INT64_MAX || outbox_client_now_us(&b->client) < b->why_until_us)
        return;
    b->why_until_us = INT64_MAX;
    for (struct outbox_job *job = b->client.sent.first; job; job = next) {
        next = job->next;
        if (job->id == 1)
            outbox_job_done(&b->client, job, OUTBOX_LATER, 0,
                            "JetStream does not tell whether a stream takes its subject");
    }
}
