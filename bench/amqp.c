/* SPDX-License-Identifier: Apache-2.0 */
/*
 * amqp.c - measures pub-amqp and its limit. The limit is a bare loop of librabbitmq that publishes
 * persistent, mandatory messages of 256 bytes with a window of confirms. Both run in turn, with a
 * classic and with a quorum queue. amqp AMQP-URL PLUGIN_DIR MESSAGES [BATCH]
 */
#include "broker.h"
#include "plugin/instance.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAYLOAD 256
#define RUNS 3

static const char *url, *plugin_dir;
static uint64_t messages, batch = 500;
static char payload[PAYLOAD];

static void run_bare(const char *queue, uint64_t window)
{
    amqp_connection_state_t c = broker_connect(url);
    uint64_t confirmed = 0;
    for (uint64_t i = 0; i < messages; i++) {
        char id[40];
        snprintf(id, sizeof id, "%036" PRIu64, i);
        broker_publish(c, queue, id, payload, PAYLOAD);
        broker_confirm(c, i + 1, &confirmed, window);
    }
    broker_confirm(c, messages, &confirmed, 1);
    amqp_destroy_connection(c);
}

/* ---- the plugin ---- */

static void set(struct outbox_cfg *cfg, const char *name, const char *value)
{
    struct outbox_err err = {.size = sizeof err};
    if (options_set(cfg, name, value, &err) < 0)
        fail(err.text);
}

static void publish_all(struct instance *publisher)
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
        if (publisher->plugin->ops.publisher.publish(publisher->self, msg_ptrs, n, &call,
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
    char number[24];
    struct instance publisher;
    if (plugin_get(plugins, OUTBOX_KIND_PUBLISHER, "amqp", &plugin, &err) < 0)
        fail(err.text);
    struct outbox_cfg *cfg = options_new(plugin);
    snprintf(number, sizeof number, "%" PRIu64, window);
    set(cfg, "url", url);
    set(cfg, "mode", "queue");
    set(cfg, "queue", queue);
    set(cfg, "window", number);
    const struct instance_setup setup = {.plugin = plugin, .cfg = cfg, .label = "publisher bench"};
    if (instance_open(&publisher, &setup, &err) < 0)
        fail(err.text);
    publish_all(&publisher);
    instance_close(&publisher);
    options_free(cfg);
    plugin_set_free(plugins);
}

/* ---- both ---- */

static void measure(const char *type, const char *what, void (*run)(const char *, uint64_t),
                    uint64_t window)
{
    broker_declare(url, "outbox-bench", type);
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
    if (argc < 4) {
        fprintf(stderr, "amqp AMQP-URL PLUGIN_DIR MESSAGES [BATCH]\n");
        return 2;
    }
    url = argv[1];
    plugin_dir = argv[2];
    messages = strtoull(argv[3], NULL, 10);
    batch = argc > 4 ? strtoull(argv[4], NULL, 10) : batch;
    memset(payload, 'x', sizeof payload);
    for (int i = 0; i < RUNS; i++)
        for (size_t t = 0; t < 2; t++)
            for (size_t w = 0; w < sizeof windows / sizeof windows[0]; w++) {
                measure(types[t], "bare", run_bare, windows[w]);
                measure(types[t], "plugin", run_plugin, windows[w]);
            }
    broker_declare(url, "outbox-bench", "classic");
    return 0;
}
