/* SPDX-License-Identifier: Apache-2.0 */
/*
 * amqp.c - pub-amqp beside its limit: a bare loop of librabbitmq that publishes persistent,
 * mandatory messages of 256 bytes with a window of confirms. Both in turn, to a classic and to a
 * quorum queue. amqp HOST PORT USER PASSWORD PLUGIN_DIR MESSAGES [BATCH]
 */
#include "host.h"

#include <outbox/helpers.h>

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#endif

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define PAYLOAD 256
#define RUNS 3

static const char *host, *user, *password, *plugin_dir;
static int port;
static uint64_t messages, batch = 500;
static char payload[PAYLOAD];

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
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void fail(const char *what)
{
    fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

static amqp_bytes_t text(const char *s)
{
    return amqp_cstring_bytes(s);
}

/* ---- the limit ---- */

static amqp_connection_state_t connect_bare(void)
{
    amqp_connection_state_t c = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(c);
    if (amqp_socket_open(socket, host, port) != AMQP_STATUS_OK)
        fail("cannot connect");
    if (amqp_login(c, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, user, password).reply_type !=
        AMQP_RESPONSE_NORMAL)
        fail("cannot log in");
    amqp_channel_open(c, 1);
    amqp_confirm_select(c, 1);
    if (amqp_get_rpc_reply(c).reply_type != AMQP_RESPONSE_NORMAL)
        fail("no channel");
    return c;
}

/* Takes confirms until fewer than `window` are missing. */
static void take_confirms(amqp_connection_state_t c, uint64_t sent, uint64_t *confirmed,
                          uint64_t window)
{
    while (sent - *confirmed >= window) {
        amqp_frame_t frame;
        if (amqp_simple_wait_frame(c, &frame) != AMQP_STATUS_OK)
            fail("the connection is lost");
        if (frame.frame_type != AMQP_FRAME_METHOD ||
            frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
            fail("not an ack");
        const amqp_basic_ack_t *ack = frame.payload.method.decoded;
        /* Out of order they only come from several queues. */
        *confirmed = ack->delivery_tag > *confirmed ? ack->delivery_tag : *confirmed;
        amqp_maybe_release_buffers(c);
    }
}

static void run_bare(const char *queue, uint64_t window)
{
    amqp_connection_state_t c = connect_bare();
    uint64_t confirmed = 0;
    for (uint64_t i = 0; i < messages; i++) {
        char id[40];
        amqp_basic_properties_t p = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG |
                                               AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_TYPE_FLAG |
                                               AMQP_BASIC_TIMESTAMP_FLAG,
                                     .delivery_mode = 2,
                                     .timestamp = 1};
        snprintf(id, sizeof id, "%036" PRIu64, i);
        p.message_id = text(id);
        p.type = text("bench");
        if (amqp_basic_publish(c, 1, text(""), text(queue), 1, 0, &p,
                               (amqp_bytes_t){PAYLOAD, payload}) != AMQP_STATUS_OK)
            fail("cannot publish");
        take_confirms(c, i + 1, &confirmed, window);
    }
    take_confirms(c, messages, &confirmed, 1);
    amqp_destroy_connection(c);
}

/* ---- the plugin ---- */

static void set(struct outbox_cfg *cfg, const char *name, const char *value)
{
    struct outbox_err err = {.size = sizeof err};
    if (options_set(cfg, name, value, &err) < 0)
        fail(err.text);
}

static void publish_all(struct host *publisher)
{
    struct outbox_message *msgs = calloc(batch, sizeof *msgs);
    const struct outbox_message **msg_ptrs = calloc(batch, sizeof *msg_ptrs);
    struct outbox_outcome *outcomes = calloc(batch, sizeof *outcomes);
    struct outbox_outcome **outcome_ptrs = calloc(batch, sizeof *outcome_ptrs);
    char(*ids)[40] = calloc(batch, sizeof *ids);
    struct outbox_call call = {sizeof call, 60000, -1, 1000};
    struct outbox_err err = {.size = sizeof err};
    if (!msgs || !msg_ptrs || !outcomes || !outcome_ptrs || !ids)
        fail("out of memory");
    for (uint64_t done = 0; done < messages;) {
        uint64_t n = messages - done < batch ? messages - done : batch;
        for (uint64_t i = 0; i < n; i++) {
            snprintf(ids[i], sizeof ids[i], "%036" PRIu64, done + i);
            msgs[i] = (struct outbox_message){.size = sizeof msgs[i],
                                              .created_us = 1000000,
                                              .id = outbox_cstr(ids[i]),
                                              .row_id = outbox_cstr(ids[i]),
                                              .topic = outbox_cstr("bench"),
                                              .key = outbox_cstr(""),
                                              .payload = {payload, PAYLOAD}};
            outcomes[i] = (struct outbox_outcome){.size = sizeof outcomes[i]};
            msg_ptrs[i] = &msgs[i];
            outcome_ptrs[i] = &outcomes[i];
        }
        if (publisher->plugin->ops.publisher.publish(publisher->instance, msg_ptrs, n, &call,
                                                     outcome_ptrs, &err) < 0)
            fail(err.text);
        for (uint64_t i = 0; i < n; i++)
            if (outcomes[i].verdict != OUTBOX_ACCEPTED)
                fail("not accepted");
        done += n;
    }
    free(msgs);
    free(msg_ptrs);
    free(outcomes);
    free(outcome_ptrs);
    free(ids);
}

static void run_plugin(const char *queue, uint64_t window)
{
    struct outbox_err err = {.size = sizeof err};
    struct plugin_set *plugins = plugin_set_new(plugin_dir);
    const struct plugin *plugin = NULL;
    char url[256], number[24];
    struct host publisher;
    if (plugin_get(plugins, OUTBOX_KIND_PUBLISHER, "amqp", &plugin, &err) < 0)
        fail(err.text);
    struct outbox_cfg *cfg = options_new(plugin);
    snprintf(url, sizeof url, "amqp://%s:%s@%s:%d", user, password, host, port);
    snprintf(number, sizeof number, "%" PRIu64, window);
    set(cfg, "url", url);
    set(cfg, "mode", "queue");
    set(cfg, "queue", queue);
    set(cfg, "window", number);
    if (host_open(&publisher, plugin, cfg, "publisher bench", NULL, &err) < 0)
        fail(err.text);
    publish_all(&publisher);
    host_close(&publisher);
    options_free(cfg);
    plugin_set_free(plugins);
}

/* ---- both ---- */

static void declare(const char *queue, const char *type)
{
    amqp_connection_state_t c = connect_bare();
    amqp_table_entry_t entry = {.key = text("x-queue-type")};
    entry.value.kind = AMQP_FIELD_KIND_UTF8;
    entry.value.value.bytes = text(type);
    amqp_queue_delete(c, 1, text(queue), 0, 0);
    amqp_queue_declare(c, 1, text(queue), 0, 1, 0, 0, (amqp_table_t){1, &entry});
    if (amqp_get_rpc_reply(c).reply_type != AMQP_RESPONSE_NORMAL)
        fail("cannot declare the queue");
    amqp_destroy_connection(c);
}

static void measure(const char *type, const char *what, void (*run)(const char *, uint64_t),
                    uint64_t window)
{
    declare("outbox-bench", type);
    double began = now(), cpu_began = cpu();
    run("outbox-bench", window);
    double seconds = now() - began, used = cpu() - cpu_began;
    printf("%-8s %-7s window %5" PRIu64 "  %8.0f messages/s  %6.2f CPU s a million\n", type, what,
           window, (double)messages / seconds, used / (double)messages * 1e6);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const char *const types[] = {"classic", "quorum"};
    static const uint64_t windows[] = {100, 500, 1000, 2000};
    if (argc < 7) {
        fprintf(stderr, "amqp HOST PORT USER PASSWORD PLUGIN_DIR MESSAGES [BATCH]\n");
        return 2;
    }
    host = argv[1];
    port = (int)strtol(argv[2], NULL, 10);
    user = argv[3];
    password = argv[4];
    plugin_dir = argv[5];
    messages = strtoull(argv[6], NULL, 10);
    batch = argc > 7 ? strtoull(argv[7], NULL, 10) : batch;
    memset(payload, 'x', sizeof payload);
    for (int i = 0; i < RUNS; i++)
        for (size_t t = 0; t < 2; t++)
            for (size_t w = 0; w < sizeof windows / sizeof windows[0]; w++) {
                measure(types[t], "bare", run_bare, windows[w]);
                measure(types[t], "plugin", run_plugin, windows[w]);
            }
    declare("outbox-bench", "classic");
    return 0;
}
