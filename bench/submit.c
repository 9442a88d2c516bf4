/* SPDX-License-Identifier: Apache-2.0 */
/*
 * submit.c - measures a publisher of the asynchronous form, whichever it is: submits messages in
 * batches, with many in flight, and collects their outcomes. Prints messages a second.
 *
 *     submit PLUGIN_DIR NAME MESSAGES SIZE BATCH WINDOW OPTION=VALUE...
 */
#include "plugin/instance.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A message with what it consists of. */
struct one {
    struct outbox_message msg;
    struct outbox_outcome outcome;
    struct one *next;
    char id[48], key[24];
};

static struct one *all, *unused;
static char *payload;
static uint64_t messages, size, batch, window;
static struct outbox_err err = {.size = sizeof err};

static void fail(const char *why)
{
    fprintf(stderr, "submit: %s\n", why);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void make_messages(void)
{
    all = calloc(window, sizeof *all);
    payload = malloc(size + 1);
    if (!all || !payload)
        fail("out of memory");
    memset(payload, 'x', size);
    for (uint64_t i = 0; i < window; i++) {
        all[i].next = unused;
        unused = &all[i];
    }
}

static void fill(struct one *one, uint64_t i)
{
    snprintf(one->id, sizeof one->id, "00000000-0000-4000-8000-%012u", (unsigned)i);
    snprintf(one->key, sizeof one->key, "%" PRIu64, i % 1000);
    one->outcome = (struct outbox_outcome){.size = sizeof one->outcome};
    one->msg = (struct outbox_message){.size = sizeof one->msg,
                                       .created_us = 1700000000000000,
                                       .id = outbox_cstr(one->id),
                                       .row_id = outbox_cstr(one->id),
                                       .topic = outbox_cstr("bench"),
                                       .key = outbox_cstr(one->key),
                                       .payload = {payload, size}};
}

static uint64_t submit(const struct instance *x, uint64_t sent)
{
    const struct outbox_publisher_ops *ops = &x->plugin->ops.publisher;
    const struct outbox_call call = {sizeof call, 60000, -1, 1000};
    const struct outbox_message *msgs[1000];
    struct outbox_outcome *outcomes[1000];
    uint64_t n = 0, taken = 0;
    for (; n < batch && n < 1000 && sent + n < messages && unused; n++) {
        struct one *one = unused;
        unused = one->next;
        fill(one, sent + n);
        msgs[n] = &one->msg;
        outcomes[n] = &one->outcome;
    }
    if (n > 0 && ops->submit(x->self, msgs, n, &call, outcomes, &taken, &err) < 0)
        fail(err.text);
    if (taken != n)
        fail("it does not take all of them");
    return n;
}

static uint64_t collect(const struct instance *x)
{
    const struct outbox_publisher_ops *ops = &x->plugin->ops.publisher;
    const struct outbox_call call = {sizeof call, 10, -1, 1000};
    struct outbox_outcome *const *got = NULL;
    uint64_t n = 0;
    if (ops->collect(x->self, &call, &got, &n, &err) < 0)
        fail(err.text);
    for (uint64_t i = 0; i < n; i++) {
        struct one *one = (struct one *)((char *)got[i] - offsetof(struct one, outcome));
        if (got[i]->verdict != OUTBOX_ACCEPTED)
            fail("not accepted");
        one->next = unused;
        unused = one;
    }
    return n;
}

static void open_publisher(const char *dir, const char *name, char **options, struct instance *ret)
{
    struct plugin_set *plugins = plugin_set_new(dir);
    const struct plugin *plugin = NULL;
    if (plugin_get(plugins, OUTBOX_KIND_PUBLISHER, name, &plugin, &err) < 0)
        fail(err.text);
    struct outbox_cfg *cfg = options_new(plugin);
    for (; *options; options++) {
        char *value = strchr(*options, '=');
        if (!value)
            fail("an option without a value");
        *value = '\0';
        if (options_set(cfg, *options, value + 1, &err) < 0)
            fail(err.text);
    }
    const struct instance_setup setup = {.plugin = plugin, .cfg = cfg, .label = "publisher bench"};
    if (instance_open(ret, &setup, &err) < 0)
        fail(err.text);
}

int main(int argc, char **argv)
{
    static struct instance publisher;
    const struct outbox_call call = {sizeof call, 10000, -1, 1000};
    uint64_t sent = 0, done = 0;
    if (argc < 7)
        fail("PLUGIN_DIR NAME MESSAGES SIZE BATCH WINDOW OPTION=VALUE...");
    messages = strtoull(argv[3], NULL, 10);
    size = strtoull(argv[4], NULL, 10);
    batch = strtoull(argv[5], NULL, 10);
    window = strtoull(argv[6], NULL, 10);
    make_messages();
    open_publisher(argv[1], argv[2], argv + 7, &publisher);
    if (publisher.plugin->ops.publisher.check(publisher.self, &call, &err) < 0)
        fail(err.text);
    double began = now();
    while (done < messages) {
        sent += submit(&publisher, sent);
        done += collect(&publisher);
    }
    printf("%.0f\n", (double)messages / (now() - began));
    instance_close(&publisher);
    free(all);
    free(payload);
    return 0;
}
