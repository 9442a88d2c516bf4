/* SPDX-License-Identifier: Apache-2.0 */
/* broker.c - the thread of the client: it connects when there is something to do, and sends. Its
 * beginning and end. */
#include "broker.h"

/* So much may wait in the library for the socket, bytes. */
#define UNSENT_MAX 131072

/* How long the messages of a silent stream wait, ms. */
#define SILENT_MS 5000

/* ---- the thread ---- */

static void lost(struct broker *b)
{
    struct outbox_err err = {.size = sizeof err};
    outbox_fail(&err, b->gone, "the connection has ended: %s", b->why);
    connection_drop(b);
    outbox_client_lost(&b->client, &err, b->is_named);
}

/* A check wants to know about the stream as it is now; meanwhile messages are sent. */
static void look_again(struct broker *b)
{
    if (b->look_until_us != INT64_MAX)
        return;
    b->look_until_us = outbox_client_now_us(&b->client) + b->settings.connect_us;
    look_begin(b);
}

static void tell_checks(struct broker *b)
{
    struct outbox_client *c = &b->client;
    struct outbox_err err = {.size = sizeof err};
    if (b->look_until_us == INT64_MAX ||
        (b->look != LOOK_NOTHING && outbox_client_now_us(c) < b->look_until_us))
        return;
    b->look_until_us = INT64_MAX;
    if (b->look == LOOK_NOTHING && b->looked.code == OUTBOX_OK) {
        outbox_client_connected(c);
        return;
    }
    if (b->look == LOOK_NOTHING)
        err = b->looked;
    else
        outbox_fail(&err, OUTBOX_E_RETRY, "JetStream does not answer within connect_timeout");
    b->look = LOOK_NOTHING;
    outbox_client_tell_checks(c, &err);
}

static int is_checked(const struct outbox_client *c)
{
    for (const struct outbox_client_instance *x = c->instances; x; x = x->next)
        if (x->checking)
            return 1;
    return 0;
}

static void connect_if_wanted(struct broker *b)
{
    struct outbox_client *c = &b->client;
    struct outbox_err err = {.size = sizeof err};
    int r;
    if (c->is_connected && is_checked(c)) {
        look_again(b);
        return;
    }
    if (c->is_connected || !outbox_client_is_wanted(c))
        return;
    r = connection_make(b, &err);
    if (c->ending)
        return;
    if (r == OUTBOX_OK)
        outbox_client_connected(c);
    else
        outbox_client_failed(c, &err);
}

static void send_queued(struct broker *b)
{
    struct outbox_job *job;
    while (!b->gone && b->client.sent.n < b->settings.window &&
           natsConnection_Buffered(b->nc) < UNSENT_MAX &&
           (job = outbox_client_next(&b->client)) != NULL)
        if (message_send(b, job) < 0)
            break;
}

static int64_t answer_until_us(const struct broker *b)
{
    int64_t until_us = outbox_client_answer_until_us(&b->client, b->settings.publish_us);
    return until_us < b->probe_until_us ? until_us : b->probe_until_us;
}

/* While JetStream answers others that were sent later, the stream of this one is silent, as without
 * a quorum, and the connection is good. */
static void expire_sent(struct broker *b)
{
    struct outbox_client *c = &b->client;
    int64_t now_us = outbox_client_now_us(c);
    while (outbox_client_answer_until_us(c, b->settings.publish_us) <= now_us &&
           c->sent.first->number < b->answered)
        outbox_job_done(c, c->sent.first, OUTBOX_LATER, SILENT_MS,
                        "no stream confirms it within publish_timeout; it may have arrived");
    if (answer_until_us(b) <= now_us)
        connection_end(b, OUTBOX_E_RETRY, "no confirm within publish_timeout");
}

static void serve(struct broker *b)
{
    struct outbox_client *c = &b->client;
    int64_t until_us, probe_us = b->probed_us + b->settings.keepalive_us;
    if (!b->probe_forbidden && !c->sent.first && outbox_client_now_us(c) >= probe_us)
        look_probe(b);
    send_queued(b);
    if (!b->gone) {
        probe_us = b->probed_us + b->settings.keepalive_us;
        until_us = answer_until_us(b);
        if (!b->probe_forbidden && !c->sent.first && probe_us < until_us)
            until_us = probe_us;
        if (b->why_until_us < until_us)
            until_us = b->why_until_us;
        connection_step(b, until_us < b->look_until_us ? until_us : b->look_until_us);
    }
    if (c->ending)
        return;
    look_why_expire(b);
    if (!b->gone)
        expire_sent(b);
    if (b->gone)
        lost(b);
    else
        tell_checks(b);
}

static void run(struct outbox_client *c)
{
    struct broker *b = (struct broker *)c;
    while (!c->ending) {
        connect_if_wanted(b);
        if (c->ending)
            break;
        if (c->is_connected)
            serve(b);
        else if (!outbox_client_is_wanted(c))
            connection_step(b, INT64_MAX);
    }
    connection_drop(b);
    nats_ReleaseThreadMemory();
}

/* ---- its life ---- */

static void destroy(struct outbox_client *c)
{
    struct broker *b = (struct broker *)c;
    outbox_url_clear(&b->settings.url);
    free(b);
}

int broker_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                struct outbox_err *err)
{
    struct broker *b = calloc(1, sizeof *b);
    int r;
    if (!b)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    b->client.run = run;
    b->client.destroy = destroy;
    r = settings_read(host, cfg, &b->settings, err);
    if (r == OUTBOX_OK)
        r = outbox_client_start(&b->client, host, cfg, err);
    if (r < 0)
        destroy(&b->client);
    else
        *ret = b;
    return r;
}
