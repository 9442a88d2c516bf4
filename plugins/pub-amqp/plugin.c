/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.c - pub-amqp: what it is, its options, its life. */
#include "connection/monotonic.h"
#include "publisher.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_KEEP (256 * 1024)
/* How long parting from the broker may take. */
#define CLOSE_US 500000

static const char *const modes[] = {"pubsub", "queue", NULL};
static const char *const declares[] = {"none", "passive", "create", NULL};
static const char *const queue_types[] = {"classic", "quorum", NULL};

#define TEXT OUTBOX_OPT_TEXT
static const struct outbox_option options[] = {
    {"url", NULL, "amqp://USER@HOST:PORT,HOST:PORT/VHOST, or amqps:// for TLS.", NULL, 0, 0, TEXT,
     OUTBOX_OPT_REQUIRED | OUTBOX_OPT_MAY_BE_SECRET},
    {"password", NULL, "The user's password; instead of one in `url`.", NULL, 0, 0, TEXT,
     OUTBOX_OPT_SECRET},
    {"mode", "pubsub", "pubsub: an exchange, every bound queue gets a copy; queue: one work queue.",
     modes, 0, 0, OUTBOX_OPT_CHOICE, 0},
    {"exchange", NULL, "mode = pubsub: its name; may hold {topic}, {key}, {header.NAME}.", NULL, 0,
     0, TEXT, 0},
    {"allow_exchanges", NULL, "Patterns that an exchange named by messages must match.", NULL, 0, 0,
     OUTBOX_OPT_LIST, 0},
    {"routing_key", NULL, "mode = pubsub: as `exchange`; default: {topic}.", NULL, 0, 0, TEXT, 0},
    {"queue", NULL, "mode = queue: its name; as `exchange`.", NULL, 0, 0, TEXT, 0},
    {"allow_queues", NULL, "Patterns that a queue named by messages must match.", NULL, 0, 0,
     OUTBOX_OPT_LIST, 0},
    {"declare", "none", "none; passive: look whether it is there; create: make it when missing.",
     declares, 0, 0, OUTBOX_OPT_CHOICE, 0},
    {"exchange_type", "topic", "declare = create: direct, fanout, topic, headers or another.", NULL,
     0, 0, TEXT, 0},
    {"queue_type", "classic", "declare = create: classic or quorum.", queue_types, 0, 0,
     OUTBOX_OPT_CHOICE, 0},
    {"mandatory", "yes", "A message that no queue gets comes back and is not delivered.", NULL, 0,
     0, OUTBOX_OPT_BOOL, 0},
    {"persistent", "yes", "Messages survive a restart of the broker.", NULL, 0, 0, OUTBOX_OPT_BOOL,
     0},
    {"ca_file", NULL, "amqps: whom to trust; default: the system's authorities.", NULL, 0, 0, TEXT,
     0},
    {"cert_file", NULL, "amqps: our certificate and its chain, PEM.", NULL, 0, 0, TEXT, 0},
    {"key_file", NULL, "amqps: its key, PEM, without a password.", NULL, 0, 0, TEXT, 0},
    {"tls_verify", "yes", "amqps: whether to verify the broker's certificate and name.", NULL, 0, 0,
     OUTBOX_OPT_BOOL, 0},
    {"heartbeat", "20s", "A silent broker is dead after two of them; 0: none.", NULL, 0, 3600000,
     OUTBOX_OPT_DURATION, 0},
    {"connect_timeout", "5s", "For one host: its name, TCP, TLS and the login.", NULL, 10, 600000,
     OUTBOX_OPT_DURATION, 0},
    {"confirm_timeout", "10s", "How long a message may wait for its confirm.", NULL, 10, 3600000,
     OUTBOX_OPT_DURATION, OUTBOX_OPT_BELOW_BATCH_TIMEOUT},
    {"window", "1000", "How many messages may be unconfirmed.", NULL, 1, 65535, OUTBOX_OPT_INT, 0},
};
#undef TEXT

static void close_amqp(void *instance)
{
    struct amqp *a = instance;
    if (!a)
        return;
    if (a->link.c) {
        bool armed = watchdog_arm(&a->watchdog, now_us() + CLOSE_US, -1, 0) == 0;
        link_close(a, a->window.unconfirmed > 0 ? LINK_UNSENT_IS_LOST
                      : armed                   ? LINK_POLITELY
                                                : LINK_AT_ONCE);
    }
    watchdog_destroy(&a->watchdog);
    if (a->connecting)
        timed_call_free_all(a->connecting, a->target->url.n_hosts);
    free(a->connecting);
    target_unref(a->target);
    window_free(&a->window);
    settings_free(&a->settings);
    arena_free(&a->arena);
    free(a->headers);
    free(a);
}

static int prepare(struct amqp *a, struct outbox_err *err)
{
    size_t n = a->target->url.n_hosts;
    bool ready = window_init(&a->window, a->settings.window) == 0 &&
                 (a->connecting = calloc(n, sizeof(struct timed_call *))) != NULL;
    for (size_t i = 0; ready && i < n; i++)
        ready = (a->connecting[i] = timed_call_new()) != NULL;
    return ready ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "out of memory or descriptors");
}

static int open_amqp(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                     struct outbox_err *err)
{
    struct amqp *a = calloc(1, sizeof *a);
    if (!a)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    a->host = host;
    a->link.fd = -1;
    a->arena = (struct arena)ARENA_INIT(ARENA_KEEP);
    watchdog_init(&a->watchdog);
    int r = settings_read(a, cfg, err);
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
    int64_t margin_us;
    struct limits limits = limits_of(call, &margin_us);
    arena_reset(&a->arena);
    if (watchdog_arm(&a->watchdog, limits.until_us + margin_us / 2, call->cancel_fd,
                     (int64_t)call->grace_ms * 1000) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "cannot start a thread: %s", strerror(errno));
    int r = session_ready(a, &limits);
    if (r == 0)
        r = session_look(a, &limits);
    a->link.kept = true;
    if (a->link.dead)
        link_close(a, LINK_UNSENT_IS_LOST);
    watchdog_disarm(&a->watchdog);
    return r == 0 ? OUTBOX_OK : outbox_fail(err, r, "%s", a->trouble.text);
}

static int publish(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *err)
{
    struct amqp *a = instance;
    arena_reset(&a->arena);
    return publish_messages(a, msgs, n, call, outcomes, err);
}

static int tend(void *instance, struct outbox_keepalive *ret, struct outbox_err *err)
{
    struct amqp *a = instance;
    (void)err;
    arena_reset(&a->arena);
    return tend_link(a, ret);
}

static const struct outbox_publisher_ops ops = {
    .size = sizeof ops,
    .open = open_amqp,
    .close = close_amqp,
    .capabilities = capabilities,
    .check = check,
    .publish = publish,
    .keepalive = tend,
};

static const struct outbox_plugin plugin = {
    OUTBOX_PLUGIN_INIT(OUTBOX_KIND_PUBLISHER, 0),
    "amqp",
    PACKAGE_VERSION,
    "Publishes to RabbitMQ and others that speak AMQP 0-9-1.",
    NULL,
    &ops,
    options,
    sizeof options / sizeof options[0],
    NULL,
};

OUTBOX_EXPORT_PLUGIN(plugin)
