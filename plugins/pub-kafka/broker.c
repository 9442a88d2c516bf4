/* SPDX-License-Identifier: Apache-2.0 */
/* broker.c - the thread of the client: it connects when there is something to do, sends, and finds
 * out when a producer is of no use any longer. Its beginning and end. */
#include "kafka.h"

/* So often it is looked whether the first answer is there: the library does not tell. */
#define LOOK_US 10000
/* So often its events are served, whether or not it tells of any. */
#define SERVE_US 1000000
/* A producer that the brokers refuse ends by itself so soon after the first answer. */
#define DISTRUST_US 500000

/* ---- connecting ---- */

static int is_answered(const struct broker *b)
{
    char *id = rd_kafka_clusterid(b->link->rk, 0);
    int is = id != NULL || rd_kafka_controllerid(b->link->rk, 0) >= 0;
    if (id)
        rd_kafka_mem_free(b->link->rk, id);
    return is;
}

/* A broker that refuses the login, or has a wrong certificate, does not speak for the others. */
static int wait_for_answer(struct broker *b, int64_t until_us, struct outbox_err *err)
{
    struct outbox_client *c = &b->client;
    while (!c->ending && b->gone == 0 && !b->all_down && !is_answered(b) &&
           outbox_client_now_us(c) < until_us)
        link_step(b, -1, earlier(outbox_client_now_us(c) + LOOK_US, until_us));
    if (c->ending)
        return outbox_fail(err, OUTBOX_E_RETRY, "it ends");
    if (b->gone != 0)
        return outbox_fail(err, b->gone, "%s", b->why);
    if (is_answered(b))
        return OUTBOX_OK;
    if (b->refused)
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s", b->last);
    return outbox_fail(err, OUTBOX_E_RETRY, "%s",
                       *b->last ? b->last : "no answer within connect_timeout");
}

static void distrust(struct broker *b, int64_t until_us)
{
    int64_t soon_us = earlier(outbox_client_now_us(&b->client) + DISTRUST_US, until_us);
    while (b->distrust && b->gone == 0 && !b->client.ending &&
           outbox_client_now_us(&b->client) < soon_us)
        link_step(b, -1, soon_us);
}

static int connect_link(struct broker *b, struct outbox_err *err)
{
    int64_t until_us = outbox_client_now_us(&b->client) + b->settings.connect_us;
    int r = link_make(b, err);
    if (r < 0)
        return r;
    r = wait_for_answer(b, until_us, err);
    if (r == OUTBOX_OK)
        r = inquiry_make(b, until_us, err);
    if (r == OUTBOX_OK)
        distrust(b, until_us);
    if (r == OUTBOX_OK && b->client.ending)
        r = outbox_fail(err, OUTBOX_E_RETRY, "it ends");
    if (r == OUTBOX_OK && b->gone != 0)
        r = outbox_fail(err, b->gone, "%s", b->why);
    if (r < 0)
        link_drop(b);
    return r;
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
    int r = OUTBOX_OK;
    if (!outbox_client_is_wanted(c))
        return;
    if (!b->link)
        r = connect_link(b, &err);
    else if (is_checked(c))
        r = inquiry_make(b, outbox_client_now_us(c) + b->settings.connect_us, &err);
    if (c->ending)
        return;
    if (r == OUTBOX_OK)
        outbox_client_connected(c);
    else
        outbox_client_failed(c, &err);
}

/* ---- what is on its way ---- */

static void send_queued(struct broker *b)
{
    struct outbox_client *c = &b->client;
    struct outbox_job *job;
    while (b->gone == 0 && !b->renew && c->sent.n < b->settings.window &&
           (job = outbox_client_next(c)) != NULL)
        if (message_send(b, job) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            break;
}

/* A producer that ended by itself after it worked is replaced, and what it had is sent again. */
static void lost(struct broker *b)
{
    struct outbox_err err = {.size = sizeof err};
    int silently = b->distrust && b->gone == OUTBOX_E_RETRY && b->acked_us > 0;
    outbox_fail(&err, b->gone, "%s", b->why);
    link_drop(b);
    if (silently) {
        outbox_logf(b->client.host, OUTBOX_LOG_WARNING, "%s; a new one is made", b->why);
        outbox_jobs_give_back(&b->client, &b->client.sent, NULL);
    } else {
        outbox_client_lost(&b->client, &err, 0);
    }
}

static void look_at_link(struct broker *b)
{
    struct outbox_client *c = &b->client;
    if (b->acked_us > 0 && b->gone == 0)
        b->distrust = 0;
    if (b->alone && !b->renew && outbox_client_now_us(c) >= b->alone_until_us)
        b->renew = 1;
    /* While something is on its way, the library has until publish_timeout: it reconnects. */
    if (b->gone == 0 && b->all_down && c->sent.n == 0) {
        b->gone = b->refused ? OUTBOX_E_CONFIG : OUTBOX_E_RETRY;
        snprintf(b->why, sizeof b->why, "no broker can be reached%s%.400s", *b->last ? ": " : "",
                 b->last);
    }
    if (b->gone != 0)
        lost(b);
    else if (b->renew && c->sent.n == 0)
        link_drop(b);
}

static void serve(struct broker *b)
{
    struct outbox_client *c = &b->client;
    int64_t until_us;
    send_queued(b);
    until_us = outbox_client_now_us(c) + SERVE_US;
    if (c->sent.n == 0 && !b->alone)
        until_us = INT64_MAX;
    link_step(b, -1, until_us);
    if (!c->ending)
        look_at_link(b);
}

static void run(struct outbox_client *c)
{
    struct broker *b = (struct broker *)c;
    while (!c->ending) {
        connect_if_wanted(b);
        if (c->ending)
            break;
        if (b->link)
            serve(b);
        else if (!outbox_client_is_wanted(c))
            outbox_client_wait(c, -1, 0, INT64_MAX);
    }
    pthread_mutex_unlock(&c->lock);
    link_end(b);
    pthread_mutex_lock(&c->lock);
}

/* ---- its life ---- */

static void destroy(struct outbox_client *c)
{
    struct broker *b = (struct broker *)c;
    outbox_url_clear(&b->settings.url);
    explicit_bzero(b->password, sizeof b->password);
    free(b->slots);
    free(b);
}

static int make_slots(struct broker *b, struct outbox_err *err)
{
    uint64_t n = 1024;
    while (n < b->settings.window)
        n *= 2;
    b->mask = n - 1;
    b->slots = calloc((size_t)n, sizeof(struct outbox_job *));
    return b->slots ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
}

int broker_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                struct outbox_err *err)
{
    struct broker *b = calloc(1, sizeof *b);
    int r;
    if (!b)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    b->client.host = host;
    b->client.cfg = cfg;
    b->client.run = run;
    b->client.destroy = destroy;
    b->client.forget = message_forget;
    r = settings_read(host, cfg, &b->settings, err);
    if (r == OUTBOX_OK)
        r = configure_check(b, err);
    if (r == OUTBOX_OK)
        r = make_slots(b, err);
    if (r == OUTBOX_OK)
        r = outbox_client_start(&b->client, host, cfg, err);
    if (r < 0)
        destroy(&b->client);
    else
        *ret = b;
    return r;
}
