/* SPDX-License-Identifier: Apache-2.0 */
/* session.c - from nothing to a channel that takes messages. */
#include "connection/connect.h"
#include "connection/monotonic.h"
#include "publisher.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A refused login is tried again slowly: brokers lock out who insists. */
#define REFUSED_AFTER_MS 15000
/* An attempt that hangs, in spite of its own deadlines, gets so much more time. */
#define HANG_US 50000

int trouble(struct amqp *a, int code, uint32_t after_ms, const char *fmt, ...)
{
    va_list ap;
    a->trouble.code = code;
    a->trouble.after_ms = after_ms;
    va_start(ap, fmt);
    vsnprintf(a->trouble.text, sizeof a->trouble.text, fmt, ap);
    va_end(ap);
    return code;
}

int trouble_of(struct amqp *a, enum answer answer, const char *what)
{
    const struct reply *reply = &a->link.reply;
    char peer[300];
    link_peer(a, peer);
    switch (answer) {
    case ANSWER_DEAD:
        return trouble(a, OUTBOX_E_RETRY, 0, "%s: %s", peer, a->link.why);
    case ANSWER_REFUSED:
        return trouble(a, reply_is_final(reply->code) ? OUTBOX_E_CONFIG : OUTBOX_E_RETRY, 0,
                       "%s: %s: %u %s", peer, what, reply->code, reply->text);
    case ANSWER_CANCELLED:
        link_die(a, "called back"); /* the answer is still to come */
        return trouble(a, OUTBOX_E_CANCELLED, 0, "called back");
    default:
        link_die(a, "no answer");
        return trouble(a, OUTBOX_E_TIMEOUT, 0, "%s: %s: no answer in time", peer, what);
    }
}

/* ---- connecting ---- */

static int explain(struct amqp *a, const struct attempt *attempt)
{
    bool refused = attempt->result == ATTEMPT_REFUSED || attempt->result == ATTEMPT_UNWANTED;
    char peer[300];
    a->link.host = attempt->host;
    link_peer(a, peer);
    if (refused)
        return trouble(a, OUTBOX_E_CONFIG, REFUSED_AFTER_MS,
                       "%s refuses the login as `%.64s` to the virtual host `%.64s`: %s", peer,
                       a->target->user, a->target->url.vhost, attempt->why);
    return trouble(a, attempt->result == ATTEMPT_UNTRUSTED ? OUTBOX_E_CONFIG : OUTBOX_E_RETRY,
                   attempt->result == ATTEMPT_UNTRUSTED ? REFUSED_AFTER_MS : 0,
                   "cannot connect to %s: %s", peer, attempt->why);
}

static int take_over(struct amqp *a, struct attempt *attempt)
{
    char peer[300];
    link_open(a, attempt->c, attempt->host, attempt->heartbeat_s);
    attempt->c = NULL;
    a->host->count(a->host, "amqp_connects_total", 1);
    outbox_logf(a->host, OUTBOX_LOG_INFO, "connected to %s%s%s%s, heartbeat %d s",
                link_peer(a, peer), *attempt->broker ? " (" : "", attempt->broker,
                *attempt->broker ? ")" : "", attempt->heartbeat_s);
    return OUTBOX_OK;
}

static int connect_to(struct amqp *a, size_t host, int64_t until_us, const struct limits *limits,
                      bool *ret_refused)
{
    char peer[300];
    a->link.host = host;
    link_peer(a, peer);
    int64_t hang_us = until_us - now_us() < 10 * HANG_US ? (until_us - now_us()) / 10 : HANG_US;
    int64_t most_us = until_us + hang_us < limits->until_us ? until_us + hang_us : limits->until_us;
    int64_t ms = (most_us - now_us()) / 1000;
    struct attempt *attempt =
        attempt_new(a->target, host, most_us - hang_us < until_us ? most_us - hang_us : until_us);
    if (!attempt)
        return trouble(a, OUTBOX_E_RETRY, 0, "out of memory");
    int r = timed_call_run(a->connecting[host], attempt_run, attempt_free, attempt, ms < 0 ? 0 : ms,
                           limits->cancel_fd);
    if (r == OUTBOX_E_TIMEOUT)
        return trouble(a, OUTBOX_E_RETRY, 0, "cannot connect to %s: no answer within %lld ms", peer,
                       (long long)ms);
    if (r == OUTBOX_E_CANCELLED)
        return trouble(a, r, 0, "called back");
    if (r == OUTBOX_OK)
        r = attempt->result == ATTEMPT_OK ? take_over(a, attempt) : explain(a, attempt);
    else if (r == OUTBOX_E_BROKEN)
        r = trouble(a, OUTBOX_E_RETRY, 0,
                    "cannot connect to %s: an earlier attempt still hangs, perhaps in the "
                    "resolution of its name",
                    peer);
    else
        r = trouble(a, r, 0, "cannot connect to %s: no thread for it", peer);
    *ret_refused = attempt->result == ATTEMPT_REFUSED;
    attempt_free(attempt);
    return r;
}

/* The hosts in turn, beginning where it went well last. */
static int connect_any(struct amqp *a, const struct limits *limits)
{
    size_t n = a->target->url.n_hosts;
    bool refused = false;
    int r = OUTBOX_E_RETRY;
    for (size_t i = 0; i < n && !refused; i++) {
        size_t host = (a->next_host + i) % n;
        int64_t now = now_us();
        /* Each gets a share, so that one that does not answer leaves time for the others. */
        int64_t share = (limits->until_us - now) / (int64_t)(n - i);
        int64_t us = share < a->settings.connect_us ? share : a->settings.connect_us;
        if (us <= 0)
            return i > 0 ? r : trouble(a, OUTBOX_E_TIMEOUT, 0, "there was no time to connect");
        r = connect_to(a, host, now + us, limits, &refused);
        /* With all of connect_timeout it might have answered: that says nothing about the host. */
        if (r == OUTBOX_E_RETRY && share < a->settings.connect_us && now_us() >= now + us - HANG_US)
            r = a->trouble.code = OUTBOX_E_TIMEOUT;
        if (r == OUTBOX_OK)
            a->next_host = host;
        if (r == OUTBOX_OK || r == OUTBOX_E_CANCELLED)
            return r;
        if (n > 1 && i + 1 < n)
            outbox_logf(a->host, OUTBOX_LOG_INFO, "%s; trying the next host", a->trouble.text);
    }
    a->next_host = refused ? a->next_host : (a->next_host + 1) % n;
    return r;
}

/* ---- the channel ---- */

int session_channel(struct amqp *a, const struct limits *limits)
{
    struct link *l = &a->link;
    amqp_channel_open_t open = {.out_of_band = {0, NULL}};
    amqp_confirm_select_t confirm = {.nowait = 0};
    l->refused = l->channel = false;
    window_reset(&a->window);
    enum answer answer =
        link_ask(a, CHANNEL, AMQP_CHANNEL_OPEN_METHOD, &open, AMQP_CHANNEL_OPEN_OK_METHOD, limits);
    if (answer == ANSWER_OK)
        answer = link_ask(a, CHANNEL, AMQP_CONFIRM_SELECT_METHOD, &confirm,
                          AMQP_CONFIRM_SELECT_OK_METHOD, limits);
    l->channel = answer == ANSWER_OK;
    return answer == ANSWER_OK ? OUTBOX_OK : trouble_of(a, answer, "cannot open a channel");
}

static enum answer declare_queue(struct amqp *a, bool passive, const struct limits *limits)
{
    const struct settings *s = &a->settings;
    const struct outbox_message none = {.size = sizeof none};
    char name[SHORT_MAX + 1], why[WHY_MAX];
    size_t n = 0;
    amqp_table_entry_t type = {.key = bytes_of("x-queue-type", 12)};
    type.value.kind = AMQP_FIELD_KIND_UTF8;
    type.value.value.bytes = amqp_cstring_bytes(s->quorum ? "quorum" : "classic");
    template_render(&s->key, &none, name, &n, why);
    amqp_queue_declare_t declare = {
        .queue = bytes_of(name, n), .passive = passive, .durable = 1, .arguments = {1, &type}};
    return link_ask(a, CHANNEL, AMQP_QUEUE_DECLARE_METHOD, &declare, AMQP_QUEUE_DECLARE_OK_METHOD,
                    limits);
}

static enum answer declare_exchange(struct amqp *a, bool passive, const struct limits *limits)
{
    const struct settings *s = &a->settings;
    const struct outbox_message none = {.size = sizeof none};
    char name[SHORT_MAX + 1], why[WHY_MAX];
    size_t n = 0;
    template_render(&s->exchange, &none, name, &n, why);
    amqp_exchange_declare_t declare = {.exchange = bytes_of(name, n),
                                       .type = amqp_cstring_bytes(s->exchange_type),
                                       .passive = passive,
                                       .durable = 1};
    return link_ask(a, CHANNEL, AMQP_EXCHANGE_DECLARE_METHOD, &declare,
                    AMQP_EXCHANGE_DECLARE_OK_METHOD, limits);
}

static int declare(struct amqp *a, bool passive, const struct limits *limits)
{
    bool queue = a->settings.queue_mode;
    enum answer answer =
        queue ? declare_queue(a, passive, limits) : declare_exchange(a, passive, limits);
    if (answer == ANSWER_OK)
        return OUTBOX_OK;
    return trouble_of(a, answer,
                      queue ? (passive ? "the queue is not to be used" : "cannot declare the queue")
                      : passive ? "the exchange is not to be used"
                                : "cannot declare the exchange");
}

/* ---- all together ---- */

/* What happened since the last call: an alarm, an end. */
static void catch_up(struct amqp *a)
{
    const struct limits now = {0, -1};
    const struct sent *oldest;
    char peer[300];
    if (a->link.c)
        link_wait(a, false, &now);
    oldest = a->link.c ? window_oldest(&a->window) : NULL;
    if (oldest && !a->link.blocked && now_us() > oldest->at_us + a->settings.confirm_us)
        link_die(a, "no confirm within confirm_timeout");
    if (!a->link.dead)
        return;
    outbox_logf(a->host, OUTBOX_LOG_INFO, "the connection to %s is lost: %s", link_peer(a, peer),
                a->link.why);
    link_close(a, LINK_UNSENT_IS_LOST);
}

int session_ready(struct amqp *a, const struct limits *limits)
{
    int r = OUTBOX_OK;
    char peer[300];
    catch_up(a);
    if (!a->link.c)
        r = connect_any(a, limits);
    if (r == 0 && a->link.blocked)
        return trouble(a, OUTBOX_E_RETRY, 0, "%s takes no messages for now: %s", link_peer(a, peer),
                       a->link.alarm);
    if (r == 0 && !a->link.channel)
        r = session_channel(a, limits);
    if (r == 0 && !a->link.declared && a->settings.declare != DECLARE_NONE) {
        r = declare(a, a->settings.declare == DECLARE_PASSIVE, limits);
        a->link.declared = r == 0;
    }
    return r;
}

int session_look(struct amqp *a, const struct limits *limits)
{
    const struct settings *s = &a->settings;
    if (s->declare != DECLARE_NONE || !(s->queue_mode ? s->key.fixed : s->exchange.fixed))
        return OUTBOX_OK;
    return declare(a, true, limits);
}
