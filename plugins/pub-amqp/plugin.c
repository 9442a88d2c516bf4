/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.c - pub-amqp: what it is, and the life of an instance. */
#include "connection/monotonic.h"
#include "keepalive.h"
#include "publish/call.h"
#include "publish/publish.h"
#include "session.h"

#include <outbox/helpers.h>

#include <stdlib.h>

#define ARENA_KEEP (256 * 1024)
/* How long parting from the broker may take. */
#define CLOSE_US 500000

static void close_amqp(void *instance)
{
    struct amqp *a = instance;
    if (!a)
        return;
    if (a->connection.state && a->window.unconfirmed == 0 &&
        watchdog_arm(&a->watchdog, now_us() + CLOSE_US, -1, 0) == OUTBOX_OK)
        connection_say_goodbye(&a->connection);
    connection_close(&a->connection);
    watchdog_destroy(&a->watchdog);
    if (a->connecting)
        timed_call_free_all(a->connecting, a->settings.endpoint->url.n_hosts);
    free(a->connecting);
    window_free(&a->window);
    settings_free(&a->settings);
    arena_free(&a->arena);
    free(a);
}

static int prepare(struct amqp *a, struct outbox_err *err)
{
    size_t n = a->settings.endpoint->url.n_hosts;
    bool ready = window_init(&a->window, a->settings.window) == OUTBOX_OK &&
                 (a->connecting = calloc(n, sizeof(struct timed_call *))) != NULL;
    for (size_t i = 0; ready && i < n; i++)
        ready = (a->connecting[i] = timed_call_new()) != NULL;
    return ready ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "cannot prepare: %m");
}

static int open_amqp(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                     struct outbox_err *err)
{
    struct amqp *a = calloc(1, sizeof *a);
    if (!a)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    a->host = host;
    a->arena = (struct arena)ARENA_INIT(ARENA_KEEP);
    watchdog_init(&a->watchdog);
    int r = settings_read(host, cfg, &a->settings, err);
    if (r == 0)
        r = prepare(a, err);
    if (r < 0)
        close_amqp(a);
    else
        *ret = a;
    return r;
}

static uint64_t capabilities(void *instance)
{
    const struct amqp *a = instance;
    /* A nack among confirmed messages changes their order, unless each waits for the one before. */
    return OUTBOX_PUB_KEEPALIVE | (a->settings.window == 1 ? OUTBOX_PUB_KEEPS_ORDER : 0);
}

static int check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct amqp *a = instance;
    struct outbox_err why = {.size = sizeof why};
    struct limits limits;
    arena_reset(&a->arena);
    int r = call_begin(a, call, &limits, err);
    if (r < 0)
        return r;
    r = session_ready(a, &limits, &why);
    if (r == 0)
        r = session_check_destination(a, &limits, &why);
    watchdog_disarm(&a->watchdog);
    return r == 0 ? OUTBOX_OK : outbox_fail(err, r, "%s", why.text);
}

static const struct outbox_publisher_ops ops = {
    .size = sizeof ops,
    .open = open_amqp,
    .close = close_amqp,
    .capabilities = capabilities,
    .check = check,
    .publish = publish_messages,
    .keepalive = keepalive_serve,
};

static const struct outbox_plugin plugin = {
    OUTBOX_PLUGIN_INIT(OUTBOX_KIND_PUBLISHER, 0),
    "amqp",
    PACKAGE_VERSION,
    "Publishes to RabbitMQ and others that speak AMQP 0-9-1.",
    NULL,
    &ops,
    settings_options,
    SETTINGS_N_OPTIONS,
    NULL,
};

OUTBOX_EXPORT_PLUGIN(plugin)
