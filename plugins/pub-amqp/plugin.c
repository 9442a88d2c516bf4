/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.c - pub-amqp: what it is, and the life of an instance. */
#include "connection/monotonic.h"
#include "connection/tls.h"
#include "keepalive.h"
#include "login_settings.h"
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
    roster_leave(&a->member);
    watchdog_destroy(&a->watchdog);
    timed_call_free_all(a->connecting, OUTBOX_URL_HOSTS);
    endpoint_unref(a->endpoint);
    window_free(&a->window);
    settings_free(&a->settings);
    arena_free(&a->arena);
    arena_free(&a->fields);
    free(a);
}

/* What is read again for each login is right now, at least. */
static int check_login(struct amqp *a, struct outbox_err *err)
{
    char *password = NULL;
    int r = login_settings_read(a->host, a->cfg, &a->endpoint, &password, err);
    secret_free(password);
    if (r < 0 || !a->endpoint->url.tls)
        return r;
    if (!a->endpoint->verify)
        outbox_logf(a->host, OUTBOX_LOG_WARNING,
                    "tls_verify is off: anybody between the relay and the broker can read and "
                    "change messages");
    return tls_check(a->endpoint, err);
}

static int open_amqp(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                     struct outbox_err *err)
{
    struct amqp *a = calloc(1, sizeof *a);
    if (!a)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    a->host = host;
    a->cfg = cfg;
    a->arena = (struct arena)ARENA_INIT(ARENA_KEEP);
    a->fields = (struct arena)ARENA_INIT(ARENA_KEEP);
    watchdog_init(&a->watchdog);
    int r = check_login(a, err);
    if (r == 0)
        r = settings_read(host, cfg, &a->settings, err);
    if (r == 0 && window_init(&a->window, a->settings.window) < 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "cannot prepare: %m");
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

OUTBOX_DEFINE_PLUGIN(OUTBOX_KIND_PUBLISHER, 0, "amqp", PACKAGE_VERSION,
                     "Publishes to RabbitMQ and others that speak AMQP 0-9-1.", NULL, ops,
                     settings_options)
