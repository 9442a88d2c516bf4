/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latency.c - measures the time from the commit of a producer to its consumer. One thread inserts
 * rows at a constant rate and records when each commit returned; another thread consumes messages
 * and records when each arrived. Prints the median, the 99th percentile and the maximum in
 * milliseconds. latency CONNINFO TABLE AMQP-URL QUEUE MESSAGES PER-SECOND
 */
#include "broker.h"

#include <libpq-fe.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WARM_UP 20

static char **args;
static size_t messages;
static double *committed, *arrived;

static void *consume(void *arg)
{
    amqp_connection_state_t c = arg;
    for (size_t n = 0; n < messages; n++) {
        amqp_envelope_t envelope;
        if (amqp_consume_message(c, &envelope, NULL, 0).reply_type != AMQP_RESPONSE_NORMAL)
            fail("the consumer's connection is lost");
        double at = now();
        char number[32] = "";
        size_t len = envelope.message.body.len;
        memcpy(number, envelope.message.body.bytes, len < 31 ? len : 31);
        size_t i = strtoull(number, NULL, 10);
        if (i < messages)
            arrived[i] = at;
        amqp_destroy_envelope(&envelope);
        amqp_maybe_release_buffers(c);
    }
    return NULL;
}

static void sleep_until(double at)
{
    struct timespec ts = {.tv_sec = (time_t)at, .tv_nsec = (long)((at - (double)(time_t)at) * 1e9)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

static void produce(double per_second)
{
    PGconn *db = PQconnectdb(args[1]);
    char sql[256];
    if (PQstatus(db) != CONNECTION_OK)
        fail(PQerrorMessage(db));
    double began = now() + 0.2;
    for (size_t i = 0; i < messages; i++) {
        snprintf(sql, sizeof sql, "INSERT INTO %s (topic, payload) VALUES ('bench', '%zu')",
                 args[2], i);
        sleep_until(began + (double)i / per_second);
        PGresult *result = PQexec(db, sql);
        committed[i] = now();
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
            fail(PQerrorMessage(db));
        PQclear(result);
    }
    PQfinish(db);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc < 7) {
        fprintf(stderr, "latency CONNINFO TABLE AMQP-URL QUEUE MESSAGES PER-SECOND\n");
        return 2;
    }
    args = argv;
    messages = strtoull(argv[5], NULL, 10) + WARM_UP;
    committed = calloc(messages, sizeof *committed);
    arrived = calloc(messages, sizeof *arrived);
    if (!committed || !arrived)
        fail("out of memory");
    amqp_connection_state_t c = broker_connect(argv[3]);
    amqp_basic_consume(c, 1, amqp_cstring_bytes(argv[4]), amqp_empty_bytes, 0, 1, 0,
                       amqp_empty_table);
    if (amqp_get_rpc_reply(c).reply_type != AMQP_RESPONSE_NORMAL)
        fail("cannot consume");
    pthread_t thread;
    pthread_create(&thread, NULL, consume, c);
    produce(strtod(argv[6], NULL));
    pthread_join(thread, NULL);
    double *ms = arrived;
    size_t n = messages - WARM_UP;
    for (size_t i = 0; i < n; i++)
        ms[i] = (arrived[i + WARM_UP] - committed[i + WARM_UP]) * 1000;
    qsort(ms, n, sizeof *ms, compare);
    printf("%.3f %.3f %.3f\n", ms[n / 2], ms[n * 99 / 100], ms[n - 1]);
    amqp_destroy_connection(c);
    free(committed);
    free(arrived);
    return 0;
}
