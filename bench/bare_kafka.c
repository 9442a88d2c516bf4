/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bare_kafka.c - measures the limit of pub-kafka: librdkafka alone, with the same promises
 * (idempotent, acknowledged by all replicas, a report of each), many messages in flight. Prints
 * messages a second.   bare_kafka HOST PORT MESSAGES SIZE [WINDOW [TOPIC]]
 */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static long accepted;

static void fail(const char *why)
{
    fprintf(stderr, "bare_kafka: %s\n", why);
    exit(1);
}

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *report, void *opaque)
{
    (void)rk;
    (void)opaque;
    if (report->err)
        fail(rd_kafka_err2str(report->err));
    accepted++;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK)
        fail(why);
}

static rd_kafka_t *make_producer(const char *host, const char *port)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[512];
    snprintf(text, sizeof text, "%s:%s", host, port);
    set(conf, "bootstrap.servers", text);
    set(conf, "enable.idempotence", "true");
    set(conf, "acks", "all");
    set(conf, "partitioner", "murmur2_random");
    set(conf, "socket.nagle.disable", "true");
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (!rk)
        fail(text);
    return rk;
}

static void produce(rd_kafka_t *rk, rd_kafka_topic_t *topic, void *payload, size_t size, long i)
{
    char key[24], id[40];
    rd_kafka_headers_t *headers = rd_kafka_headers_new(1);
    snprintf(key, sizeof key, "%ld", i % 1000);
    snprintf(id, sizeof id, "00000000-0000-4000-8000-%012ld", i);
    rd_kafka_header_add(headers, "message-id", -1, id, -1);
    const rd_kafka_vu_t vus[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {payload, size}},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {key, strlen(key)}},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
    };
    rd_kafka_error_t *error = rd_kafka_produceva(rk, vus, sizeof vus / sizeof vus[0]);
    if (error)
        fail(rd_kafka_error_string(error));
}

int main(int argc, char **argv)
{
    if (argc < 5)
        fail("HOST PORT MESSAGES SIZE [WINDOW [TOPIC]]");
    long messages = strtol(argv[3], NULL, 10),
         window = argc > 5 ? strtol(argv[5], NULL, 10) : 10000;
    size_t size = (size_t)strtol(argv[4], NULL, 10);
    char *payload = calloc(1, size + 1);
    rd_kafka_t *rk = make_producer(argv[1], argv[2]);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, argc > 6 ? argv[6] : "bench", NULL);
    struct timespec begin, end;
    if (!payload || !topic)
        fail("out of memory");
    memset(payload, 'x', size);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (long sent = 0; accepted < messages;) {
        while (sent < messages && sent - accepted < window)
            produce(rk, topic, payload, size, sent++);
        rd_kafka_poll(rk, 10);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds =
        (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    printf("%.0f\n", (double)messages / seconds);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(rk);
    free(payload);
    return 0;
}
