/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publisher.c - measures a publisher plugin alone: without a store, each worker hands it messages
 * from memory in batches of 500, with up to four of them under way where it is asynchronous, as a
 * relay would. Prints messages a second, and CPU seconds a million.
 *
 * publisher CONFIG MESSAGES SIZE    CONFIG is a relay's file; its first publisher is measured
 */
#include "config/load.h"
#include "plugin/instance.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define BATCH 500
#define SLOTS 4
#define ROOM (BATCH * SLOTS)

static uint64_t size;
static char *payload;
static uint32_t run_number;

struct worker {
    pthread_t thread;
    const struct publisher_config *config;
    struct instance instance;
    uint32_t number;
    uint64_t messages; /* its share */
    uint64_t made, accepted;
    struct outbox_message msgs[ROOM];
    const struct outbox_message *msg_ptrs[ROOM];
    struct outbox_outcome outcomes[ROOM];
    struct outbox_outcome *outcome_ptrs[ROOM];
    char ids[ROOM][40];
    uint32_t left[SLOTS]; /* messages of a batch without outcome */
};

static void fail(const char *what)
{
    fprintf(stderr, "publisher: %s\n", what);
    exit(1);
}

static double seconds_of(struct timeval tv)
{
    return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return seconds_of(u.ru_utime) + seconds_of(u.ru_stime);
}

/* The next batch, in this slot. Returns how many messages it has. */
static uint64_t make_batch(struct worker *w, uint64_t slot)
{
    uint64_t n = w->messages - w->made < BATCH ? w->messages - w->made : BATCH;
    for (uint64_t i = slot * BATCH; i < slot * BATCH + n; i++) {
        snprintf(w->ids[i], sizeof w->ids[i], "%08x-%04x-4000-8000-%012" PRIx64, run_number,
                 w->number, w->made++);
        w->msgs[i] = (struct outbox_message){.size = sizeof w->msgs[i],
                                             .seq = (int64_t)w->made,
                                             .created_us = (int64_t)time(NULL) * 1000000,
                                             .id = outbox_cstr(w->ids[i]),
                                             .row_id = outbox_cstr(w->ids[i]),
                                             .topic = outbox_cstr("bench"),
                                             .key = outbox_cstr(""),
                                             .payload = {payload, size}};
        w->outcomes[i] = (struct outbox_outcome){.size = sizeof w->outcomes[i]};
        w->msg_ptrs[i] = &w->msgs[i];
        w->outcome_ptrs[i] = &w->outcomes[i];
    }
    w->left[slot] = (uint32_t)n;
    return n;
}

static void take(struct worker *w, const struct outbox_outcome *outcome)
{
    if (outcome->verdict != OUTBOX_ACCEPTED) {
        fprintf(stderr, "publisher: verdict %u: %.*s\n", outcome->verdict, (int)outcome->reason.n,
                outcome->reason.p ? outcome->reason.p : "");
        exit(1);
    }
    w->accepted++;
    w->left[(uint64_t)(outcome - w->outcomes) / BATCH]--;
}

static struct outbox_call call_of(const struct worker *w)
{
    return (struct outbox_call){sizeof(struct outbox_call),
                                (uint32_t)w->config->delivery.batch_timeout_ms, -1, 1000};
}

static void publish_all(struct worker *w)
{
    const struct outbox_publisher_ops *ops = &w->config->plugin->ops.publisher;
    struct outbox_call call = call_of(w);
    struct outbox_err err = {.size = sizeof err};
    while (w->made < w->messages) {
        uint64_t n = make_batch(w, 0);
        if (ops->publish(w->instance.self, w->msg_ptrs, n, &call, w->outcome_ptrs, &err) < 0)
            fail(err.text);
        for (uint64_t i = 0; i < n; i++)
            take(w, &w->outcomes[i]);
    }
}

static void collect(struct worker *w, const struct outbox_publisher_ops *ops)
{
    struct outbox_outcome *const *got;
    struct outbox_call call = call_of(w);
    struct outbox_err err = {.size = sizeof err};
    uint64_t n = 0;
    if (ops->collect(w->instance.self, &call, &got, &n, &err) < 0)
        fail(err.text);
    for (uint64_t i = 0; i < n; i++)
        take(w, got[i]);
}

/* Submits a batch, and collects meanwhile when the plugin takes no more. */
static void submit(struct worker *w, const struct outbox_publisher_ops *ops, uint64_t slot)
{
    struct outbox_call call = call_of(w);
    struct outbox_err err = {.size = sizeof err};
    uint64_t n = make_batch(w, slot), taken;
    for (uint64_t at = slot * BATCH; n > 0; at += taken, n -= taken) {
        if (ops->submit(w->instance.self, w->msg_ptrs + at, n, &call, w->outcome_ptrs + at, &taken,
                        &err) < 0)
            fail(err.text);
        if (taken < n)
            collect(w, ops);
    }
}

static void submit_all(struct worker *w)
{
    const struct outbox_publisher_ops *ops = &w->config->plugin->ops.publisher;
    while (w->accepted < w->messages) {
        for (uint64_t slot = 0; slot < SLOTS; slot++)
            if (w->left[slot] == 0 && w->made < w->messages)
                submit(w, ops, slot);
        collect(w, ops);
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    const struct outbox_publisher_ops *ops = &w->config->plugin->ops.publisher;
    if (ops->submit)
        submit_all(w);
    else
        publish_all(w);
    return NULL;
}

static void report(void *ctx, const char *file, int line, const char *text)
{
    (void)ctx;
    fprintf(stderr, "%s:%d: %s\n", file, line, text);
}

int main(int argc, char **argv)
{
    struct config *config;
    struct outbox_err err = {.size = sizeof err};
    if (argc != 4) {
        fprintf(stderr, "publisher CONFIG MESSAGES SIZE\n");
        return 2;
    }
    uint64_t messages = strtoull(argv[2], NULL, 10);
    size = strtoull(argv[3], NULL, 10);
    payload = malloc(size + 1);
    run_number = (uint32_t)time(NULL) ^ (uint32_t)getpid() << 16;
    if (!payload || load_config(argv[1], report, NULL, &config) < 0)
        fail("no configuration");
    memset(payload, 'x', size);
    const struct publisher_config *p = &config->publishers[0];
    struct worker *workers = calloc(config->workers, sizeof *workers);
    if (!workers)
        fail("out of memory");
    for (uint32_t i = 0; i < config->workers; i++) {
        struct worker *w = &workers[i];
        const struct instance_setup setup = {
            p->plugin, p->options, "publisher bench",
            NULL,      p->shared,  (uint32_t)p->delivery.batch_timeout_ms};
        w->config = p;
        w->number = i;
        w->messages = messages / config->workers + (i < messages % config->workers);
        if (instance_open(&w->instance, &setup, &err) < 0)
            fail(err.text);
    }
    double began = now(), cpu_began = cpu();
    for (uint32_t i = 0; i < config->workers; i++)
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            fail("no thread");
    for (uint32_t i = 0; i < config->workers; i++)
        pthread_join(workers[i].thread, NULL);
    double seconds = now() - began, used = cpu() - cpu_began;
    for (uint32_t i = 0; i < config->workers; i++)
        instance_close(&workers[i].instance);
    printf("%.0f %.2f\n", (double)messages / seconds, used / (double)messages * 1e6);
    free(workers);
    free(payload);
    config_free(config);
    return 0;
}
