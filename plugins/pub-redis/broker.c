/* SPDX-License-Identifier: Apache-2.0 */
/* broker.c - the thread of the client: it connects when there is something to do, sends, and takes
 * replies. Its beginning and end. */
#include "redis.h"

/* More is not put into the link before the server has taken some. */
#define UNWRITTEN_MAX (1u << 20)

static void connect_if_wanted(struct broker *b)
{
    struct outbox_client *c = &b->client;
    struct outbox_err err = {.size = sizeof err};
    int r;
    if (b->link.fd >= 0 || !outbox_client_is_wanted(c))
        return;
    b->unanswered = NULL;
    b->added = 0;
    b->lagging = 0;
    memset(&b->waits, 0, sizeof b->waits);
    r = login_make(b, &err);
    b->heard_us = c->ending ? 0 : outbox_client_now_us(c);
    if (r < 0 && !c->ending)
        outbox_client_failed(c, &err);
}

static void lost(struct broker *b)
{
    struct outbox_err err = {.size = sizeof err};
    outbox_fail(&err, b->link.gone, "%.150s: the connection has ended: %s", b->peer, b->link.why);
    link_close(&b->link);
    b->unanswered = NULL;
    outbox_client_lost(&b->client, &err, 0);
}

/* ---- out ---- */

static void send_queued(struct broker *b)
{
    struct outbox_client *c = &b->client;
    struct outbox_job *job;
    while (!b->link.gone && c->sent.n < b->settings.window &&
           link_unwritten(&b->link) < UNWRITTEN_MAX && (job = outbox_client_next(c)) != NULL)
        message_send(b, job);
}

static void ping(struct broker *b)
{
    static const char *const argv[] = {"PING"};
    const char *words[1] = {argv[0]};
    const size_t lens[1] = {4};
    link_command(&b->link, 1, words, lens);
}

/* Until when the server may be silent. */
static int64_t silent_until_us(const struct broker *b)
{
    int is_owed = b->link.asked != b->link.answered;
    return b->heard_us + (is_owed ? b->settings.publish_us : b->settings.keepalive_us);
}

static void send_some(struct broker *b)
{
    int was_owed = b->link.asked != b->link.answered;
    int64_t now_us = outbox_client_now_us(&b->client);
    if (!b->lagging) {
        outbox_client_connected(&b->client);
        send_queued(b);
    }
    if (waits_wanted(b))
        waits_send(b);
    if (!was_owed && b->link.asked == b->link.answered && now_us >= silent_until_us(b))
        ping(b);
    if (!was_owed)
        b->heard_us = b->link.asked != b->link.answered ? now_us : b->heard_us;
}

/* ---- in ---- */

/* The message that the reply is for may have left, when its time was over. */
static void take_reply(struct broker *b, const redisReply *reply)
{
    uint64_t number = b->link.answered;
    struct outbox_job *job = b->unanswered;
    if (b->waits.first != 0 && number >= b->waits.first && number <= b->waits.last) {
        waits_take_reply(b, number, reply);
        return;
    }
    if (job && job->number == number) {
        b->unanswered = job->next;
        message_take_reply(b, job, reply);
    } else if (number > b->link.asked) {
        link_end(&b->link, OUTBOX_E_RETRY, "it says %.200s",
                 reply->type == REDIS_REPLY_ERROR ? reply->str : "what nobody asked for");
    }
}

static void take_replies(struct broker *b)
{
    redisReply *reply;
    int ended = b->link.gone;
    while ((!b->link.gone || ended) && (reply = link_reply(&b->link)) != NULL) {
        take_reply(b, reply);
        freeReplyObject(reply);
    }
}

static void work(struct broker *b)
{
    if (link_work(&b->link) > 0)
        b->heard_us = outbox_client_now_us(&b->client);
    take_replies(b);
}

static void serve(struct broker *b)
{
    struct outbox_client *c = &b->client;
    send_some(b);
    work(b);
    if (!b->link.gone) {
        outbox_client_wait(c, b->link.fd, link_events(&b->link), silent_until_us(b));
        if (c->ending)
            return;
        work(b);
    }
    if (!b->link.gone && b->link.asked != b->link.answered &&
        outbox_client_now_us(c) >= silent_until_us(b))
        link_end(&b->link, OUTBOX_E_RETRY, "no reply within publish_timeout");
    if (b->link.gone)
        lost(b);
}

static void run(struct outbox_client *c)
{
    struct broker *b = (struct broker *)c;
    while (!c->ending) {
        connect_if_wanted(b);
        if (c->ending)
            break;
        if (b->link.fd >= 0)
            serve(b);
        else if (!outbox_client_is_wanted(c))
            outbox_client_wait(c, -1, 0, INT64_MAX);
    }
    link_close(&b->link);
}

/* ---- its life ---- */

static void forget(struct outbox_client *c, struct outbox_job *job)
{
    struct broker *b = (struct broker *)c;
    if (b->unanswered == job)
        b->unanswered = job->next;
}

static void destroy(struct outbox_client *c)
{
    struct broker *b = (struct broker *)c;
    settings_clear(&b->settings);
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
    b->client.forget = forget;
    b->link.fd = -1;
    r = settings_read(host, cfg, &b->settings, err);
    if (r == OUTBOX_OK)
        r = outbox_client_start(&b->client, host, cfg, err);
    if (r < 0)
        destroy(&b->client);
    else
        *ret = b;
    return r;
}
