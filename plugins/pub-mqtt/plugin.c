/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.c - pub-mqtt: what it is, its options, its instances. */
#include "mqtt.h"

#include <errno.h>
#include <outbox/wait.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const char *const protocols[] = {"5", "3.1.1", NULL};

static const struct outbox_option options[] = {
    {"url", NULL, "mqtt://USER:PASSWORD@HOST:PORT,HOST:PORT, or mqtts: for TLS.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, OUTBOX_OPT_REQUIRED | OUTBOX_OPT_MAY_BE_SECRET},
    {"password", NULL, "The user's password, instead of one in url.", NULL, 0, 0, OUTBOX_OPT_TEXT,
     OUTBOX_OPT_SECRET},
    {"client_id", "outboxd", "The client id; see client_id_suffix.", NULL, 0, 0, OUTBOX_OPT_TEXT,
     0},
    {"client_id_suffix", "yes", "Whether something random follows the client id.", NULL, 0, 0,
     OUTBOX_OPT_BOOL, 0},
    {"protocol", "5", "The version of MQTT.", protocols, 0, 0, OUTBOX_OPT_CHOICE, 0},
    {"topic", "{topic}", "The topic to publish to; a template.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"topic_slashes", "no", "Whether each `.` of a message's topic becomes a `/`.", NULL, 0, 0,
     OUTBOX_OPT_BOOL, 0},
    {"allow_topics", NULL, "Patterns: topics that messages may go to.", NULL, 0, 0, OUTBOX_OPT_LIST,
     0},
    {"qos", "1", "The quality of service.", NULL, 0, 2, OUTBOX_OPT_INT, 0},
    {"retain", "no", "Whether the broker keeps the last message of each topic.", NULL, 0, 0,
     OUTBOX_OPT_BOOL, 0},
    {"mandatory", "no", "Whether a message that nobody subscribes to counts as not delivered.",
     NULL, 0, 0, OUTBOX_OPT_BOOL, 0},
    {"id_property", "message-id", "The user property that the message's id becomes.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"key_property", NULL, "The user property that the message's key becomes.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"window", "1000", "How many messages may be unconfirmed.", NULL, 1, 10000, OUTBOX_OPT_INT, 0},
    {"keepalive", "60s", "After so much silence the broker is asked whether it is there.", NULL,
     5000, 65535000, OUTBOX_OPT_DURATION, 0},
    {"connect_timeout", "5s", "For one host: TCP, TLS and the login.", NULL, 1, 3600000,
     OUTBOX_OPT_DURATION, 0},
    {"publish_timeout", "10s", "How long a message may wait for its confirm.", NULL, 1, 3600000,
     OUTBOX_OPT_DURATION, OUTBOX_OPT_BELOW_BATCH_TIMEOUT},
    {"ca_file", NULL, "The authorities to trust, PEM; default: those of the system.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"cert_file", NULL, "The certificate of the relay, PEM.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"key_file", NULL, "Its key, PEM, without a password.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"tls_verify", "yes", "Whether the broker's certificate must be valid.", NULL, 0, 0,
     OUTBOX_OPT_BOOL, 0},
};

/* ---- an instance ---- */

/* Nothing of the instance is on its way afterwards: the library has copies of what it sends, and
 * its answers find nobody. */
static void leave(struct client *c, struct instance *x)
{
    struct instance **at = &c->instances;
    struct job *job;
    pthread_mutex_lock(&c->lock);
    jobs_give_back(&c->queue, x);
    jobs_give_back(&c->sent, x);
    while ((job = jobs_pop(&x->done)) != NULL)
        jobs_free(job);
    while (*at && *at != x)
        at = &(*at)->next;
    if (*at)
        *at = x->next;
    pthread_mutex_unlock(&c->lock);
}

static void close_instance(void *instance)
{
    struct instance *x = instance;
    if (!x)
        return;
    leave(x->client, x);
    if (x->ready >= 0)
        close(x->ready);
    if (x->told >= 0)
        close(x->told);
    free(x->handed);
    outbox_reasons_clear(&x->reasons);
    free(x);
}

static int open_instance(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                         struct outbox_err *err)
{
    struct instance *x = calloc(1, sizeof *x);
    int r = OUTBOX_OK;
    (void)cfg;
    if (!x)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    x->host = host;
    x->client = host->shared;
    x->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    x->told = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (x->ready < 0 || x->told < 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "eventfd: %s", strerror(errno));
    pthread_mutex_lock(&x->client->lock);
    x->next = x->client->instances;
    x->client->instances = x;
    pthread_mutex_unlock(&x->client->lock);
    return outbox_opened(r, x, close_instance, ret);
}

static uint64_t capabilities(void *instance)
{
    (void)instance;
    return OUTBOX_PUB_KEEPALIVE;
}

static int check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct instance *x = instance;
    struct client *c = x->client;
    struct outbox_deadline d;
    eventfd_t count;
    int r;
    outbox_deadline_begin(&d, x->host, call);
    pthread_mutex_lock(&c->lock);
    eventfd_read(x->told, &count); /* of a check that did not wait for it */
    x->checking = 1;
    eventfd_write(c->wake, 1);
    pthread_mutex_unlock(&c->lock);
    r = outbox_wait(&d, x->told, POLLIN, 0);
    pthread_mutex_lock(&c->lock);
    x->checking = 0;
    if (r < 0)
        outbox_fail(err, r, "%s", r == OUTBOX_E_CANCELLED ? "cancelled" : "no connection in time");
    else if (x->checked.code < 0)
        r = outbox_fail(err, x->checked.code, "%s", x->checked.text);
    pthread_mutex_unlock(&c->lock);
    return r;
}

static int32_t ready_fd(void *instance)
{
    return ((struct instance *)instance)->ready;
}

/* The thread sends the pings; this tells what it knows. */
static int keepalive(void *instance, struct outbox_keepalive *ret, struct outbox_err *err)
{
    struct instance *x = instance;
    (void)err;
    pthread_mutex_lock(&x->client->lock);
    ret->verdict = OUTBOX_ACCEPTED;
    if (!x->client->connected && x->client->down.code < 0) {
        snprintf(x->text, sizeof x->text, "%s", x->client->down.text);
        ret->verdict = OUTBOX_UNAVAILABLE;
        ret->reason = outbox_cstr(x->text);
    }
    pthread_mutex_unlock(&x->client->lock);
    return OUTBOX_OK;
}

static const struct outbox_publisher_ops ops = {
    .size = sizeof ops,
    .open = open_instance,
    .close = close_instance,
    .capabilities = capabilities,
    .check = check,
    .keepalive = keepalive,
    .submit = submit_begin,
    .collect = submit_collect,
    .ready_fd = ready_fd,
};

OUTBOX_DEFINE_SHARED_PLUGIN(OUTBOX_KIND_PUBLISHER, 0, "mqtt", PACKAGE_VERSION,
                            "Publishes messages to a broker of MQTT.", NULL, ops, options,
                            client_open, client_close)
