/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resend.c - the broker closed the channel because of one message, and does not say which. What
 * was unconfirmed is sent again one by one, so that only that message is charged. Halving the
 * suspects would send most messages several times.
 */
#include "publish/resend.h"

#include "publish/outcome.h"
#include "publisher.h"
#include "session.h"

#include <outbox/helpers.h>

#include <string.h>

void resend_unconfirmed(struct call *c)
{
    window_reset(&c->a->window);
    c->next = 0; /* messages with an outcome are skipped */
}

static void refuse(struct call *c, uint32_t index, uint32_t verdict, const struct reply *reply)
{
    outcome_set(c, index, verdict, "the broker refuses it: %u %s", reply->code, reply->text);
}

bool resend_refuse_missing(struct call *c, uint32_t index, const struct publication *p)
{
    size_t i = 0;
    while (i < c->n_missing && strcmp(c->missing[i].name, p->exchange_text) != 0)
        i++;
    if (i < c->n_missing)
        refuse(c, index, OUTBOX_RETRY, &c->missing[i].reply);
    return i < c->n_missing;
}

/* It is the only one that can have closed the channel. */
static void charge(struct call *c, uint32_t index, const struct reply *reply, bool for_good)
{
    struct publication p;
    refuse(c, index, for_good ? OUTBOX_REJECTED : OUTBOX_RETRY, reply);
    /* The next message for the same exchange need not close the channel again. */
    if (reply_code_is_about_exchange(reply) && c->n_missing < MISSING_MAX &&
        publication_address(&c->a->settings, c->msgs[index], &p, NULL) == OUTBOX_OK) {
        struct missing_exchange *missing = &c->missing[c->n_missing++];
        memcpy(missing->name, p.exchange_text, sizeof missing->name);
        missing->reply = *reply;
    }
}

/* Then what is larger is refused before it closes the channel, and nobody is suspected. */
static bool learn_body_max(struct amqp *a)
{
    uint64_t max = reply_code_body_max(&a->channel.reply), known = a->channel.body_max;
    if (max == 0 || (known > 0 && max >= known))
        return false;
    a->channel.body_max = max;
    outbox_logf(a->host, OUTBOX_LOG_INFO,
                "%s takes payloads of at most %llu bytes; sending what was unconfirmed again",
                a->connection.peer, (unsigned long long)max);
    return true;
}

int resend_after_close(struct call *c)
{
    struct amqp *a = c->a;
    const struct reply *reply = &a->channel.reply;
    enum reply_code_cause cause =
        reply_code_cause(reply, a->settings.exchange.fixed, a->settings.key.fixed);
    bool alone = a->window.live == 1 && a->window.unconfirmed == 1;
    if (cause == CAUSE_CONFIGURATION) {
        a->channel.declared = false;
        outcome_set_unavailable(c, 0, "the broker refuses every message: %u %s%s", reply->code,
                                reply->text, reply_code_advice(reply->code));
    } else if (learn_body_max(a)) {
        ; /* the one that was too large gets its outcome when its turn comes */
    } else if (alone) {
        charge(c, window_oldest(&a->window)->index, reply, cause == CAUSE_MESSAGE_FOR_GOOD);
    } else {
        outbox_logf(a->host, OUTBOX_LOG_INFO,
                    "the broker closed the channel because of one message (%u %s); sending the %u "
                    "unconfirmed messages again, one by one",
                    reply->code, reply->text, a->window.live);
        c->suspects_end = c->next > c->suspects_end ? c->next : c->suspects_end;
    }
    resend_unconfirmed(c);
    if (cause == CAUSE_CONFIGURATION)
        return OUTBOX_E_CONFIG;
    struct outbox_err err = {.size = sizeof err};
    int r = session_open_channel(a, &c->limits, &err);
    if (r == OUTBOX_E_CANCELLED)
        call_cancel(c);
    else if (r == OUTBOX_E_TIMEOUT)
        c->stop = true;
    else if (r < 0)
        outcome_set_unavailable(c, 0, "%s", err.text);
    return r;
}
