/* SPDX-License-Identifier: Apache-2.0 */
/* message.c - from a message to a record, and from its delivery report to an outcome. */
#include "kafka.h"

#include <limits.h>

/* ---- jobs by their numbers: a report that comes late finds nobody ---- */

static struct outbox_job **find(struct broker *b, uint64_t number)
{
    struct outbox_job **at = &b->slots[number & b->mask];
    while (*at && (*at)->number != number)
        at = (struct outbox_job **)&(*at)->data;
    return at;
}

static void remember(struct broker *b, struct outbox_job *job)
{
    struct outbox_job **at = &b->slots[job->number & b->mask];
    job->data = *at;
    *at = job;
}

void message_forget(struct outbox_client *c, struct outbox_job *job)
{
    struct broker *b = (struct broker *)c;
    struct outbox_job **at = find(b, job->number);
    if (job->number != 0 && *at == job)
        *at = job->data;
}

/* ---- the record ---- */

/* Makes the topic in b->topic. OUTBOX_E_CONFIG: never, with the reason. */
static int make_topic(struct broker *b, const struct outbox_message *msg, struct outbox_err *err)
{
    const struct settings *set = &b->settings;
    size_t n = 0;
    int r = outbox_template_render(&set->topic, msg, b->topic, sizeof b->topic, &n, err);
    if (r < 0)
        return r;
    if (strlen(b->topic) != n || !kafka_is_topic(b->topic))
        return outbox_fail(err, OUTBOX_E_CONFIG, "Kafka takes no topic `%.80s`", b->topic);
    if (set->restricted &&
        !outbox_template_allows(b->client.host, b->client.cfg, "allow_topics", b->topic))
        return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is not among allow_topics", b->topic);
    /* __consumer_offsets and the like are the brokers': a person has to allow them. */
    if (strncmp(b->topic, "__", 2) == 0 && !set->restricted &&
        strncmp(set->topic.text, "__", 2) != 0)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the topic `%.80s` begins with `__` and is not among allow_topics",
                           b->topic);
    return OUTBOX_OK;
}

static int add_header(rd_kafka_headers_t *headers, const char *name, size_t n,
                      struct outbox_str value, struct outbox_err *err)
{
    if (n > INT16_MAX || value.n > INT_MAX)
        return outbox_fail(err, OUTBOX_E_CONFIG, "a header is too long for Kafka");
    if (rd_kafka_header_add(headers, name, (ssize_t)n, value.p ? value.p : "", (ssize_t)value.n) !=
        RD_KAFKA_RESP_ERR_NO_ERROR)
        return outbox_fail(err, OUTBOX_E_CONFIG, "Kafka does not take the header `%.80s`", name);
    return OUTBOX_OK;
}

/* The id, and the headers in their order. */
static int make_headers(const struct settings *set, const struct outbox_message *msg,
                        rd_kafka_headers_t *headers, struct outbox_err *err)
{
    struct outbox_str id = outbox_cstr(set->id_header);
    int r = OUTBOX_OK;
    if (set->id_header)
        r = add_header(headers, set->id_header, id.n, msg->id, err);
    for (uint64_t i = 0; r == OUTBOX_OK && i < msg->n_headers; i++) {
        const struct outbox_header *h = &msg->headers[i];
        if (!set->id_header || !outbox_str_eq(h->name, id))
            r = add_header(headers, h->name.p, (size_t)h->name.n, h->value, err);
    }
    return r;
}

/* The library takes copies, and the headers if it takes the message. */
static rd_kafka_resp_err_t produce(struct broker *b, struct outbox_job *job,
                                   rd_kafka_topic_t *topic, rd_kafka_headers_t *headers)
{
    const struct outbox_message *msg = job->msg;
    rd_kafka_vu_t vus[7];
    rd_kafka_error_t *error;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    size_t n = 0;
    vus[n].vtype = RD_KAFKA_VTYPE_RKT;
    vus[n++].u.rkt = topic;
    vus[n].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
    vus[n++].u.i = RD_KAFKA_MSG_F_COPY;
    vus[n].vtype = RD_KAFKA_VTYPE_OPAQUE;
    vus[n++].u.ptr = (void *)(uintptr_t)job->number; // NOLINT: a number, never an address
    vus[n].vtype = RD_KAFKA_VTYPE_VALUE;
    vus[n].u.mem.ptr = (void *)(uintptr_t)msg->payload.p; /* NULL: a tombstone */
    vus[n++].u.mem.size = (size_t)msg->payload.n;
    if (msg->key.n > 0) {
        vus[n].vtype = RD_KAFKA_VTYPE_KEY;
        vus[n].u.mem.ptr = (void *)(uintptr_t)msg->key.p;
        vus[n++].u.mem.size = (size_t)msg->key.n;
    }
    if (b->settings.created && msg->created_us >= 1000) {
        vus[n].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
        vus[n++].u.i64 = msg->created_us / 1000;
    }
    vus[n].vtype = RD_KAFKA_VTYPE_HEADERS;
    vus[n++].u.headers = headers;
    error = rd_kafka_produceva(b->link->rk, vus, n);
    if (error) {
        code = rd_kafka_error_code(error);
        rd_kafka_error_destroy(error);
        rd_kafka_headers_destroy(headers);
    }
    return code;
}

/* A number that fits into a pointer, and is not 0. */
static uint64_t next_number(struct broker *b)
{
    b->number = (uint64_t)(uintptr_t)(b->number + 1);
    b->number += b->number == 0;
    return b->number;
}

rd_kafka_resp_err_t message_send(struct broker *b, struct outbox_job *job)
{
    struct outbox_client *c = &b->client;
    struct outbox_err err = {.size = sizeof err};
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_topic_t *topic = NULL;
    rd_kafka_resp_err_t code;
    int r = make_topic(b, job->msg, &err);
    if (r == OUTBOX_OK) {
        topic = topic_of(b->link, b->topic);
        if (!topic) /* of a good name: nothing is wrong with the message */
            r = outbox_fail(&err, OUTBOX_E_RETRY, "librdkafka cannot use the topic `%.80s`: %s",
                            b->topic, rd_kafka_err2str(rd_kafka_last_error()));
    }
    if (r == OUTBOX_OK) {
        headers = rd_kafka_headers_new((size_t)job->msg->n_headers + 1);
        r = make_headers(&b->settings, job->msg, headers, &err);
    }
    if (r < 0) {
        if (headers)
            rd_kafka_headers_destroy(headers);
        outbox_job_done(c, job, r == OUTBOX_E_RETRY ? OUTBOX_LATER : OUTBOX_REJECTED, 0, "%s",
                        err.text);
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    job->number = next_number(b);
    remember(b, job);
    code = produce(b, job, topic, headers);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        outbox_client_sent(c, job);
        return code;
    }
    message_forget(c, job);
    job->number = 0;
    if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL && code != RD_KAFKA_RESP_ERR__FATAL)
        outcome_set(b, job, code, 0);
    return code == RD_KAFKA_RESP_ERR__FATAL ? RD_KAFKA_RESP_ERR__QUEUE_FULL : code;
}

/* ---- delivery reports ---- */

void message_on_report(rd_kafka_t *rk, const rd_kafka_message_t *report, void *opaque)
{
    struct broker *b = opaque;
    struct outbox_job *job = *find(b, (uint64_t)(uintptr_t)report->_private);
    (void)rk;
    if (report->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        b->acked_us = outbox_client_now_us(&b->client);
        b->all_down = b->refused = 0;
    }
    if (job)
        outcome_set(b, job, report->err,
                    rd_kafka_message_status(report) != RD_KAFKA_MSG_STATUS_NOT_PERSISTED);
}
