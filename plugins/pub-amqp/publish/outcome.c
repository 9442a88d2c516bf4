/* SPDX-License-Identifier: Apache-2.0 */
#include "publish/outcome.h"

#include "publish/publication.h"
#include "publisher.h"

#include <outbox/helpers.h>

#include <stdarg.h>
#include <stdio.h>

#define REASON_MAX 1024

static __attribute__((format(printf, 2, 0))) struct outbox_str reason(struct call *c,
                                                                      const char *fmt, va_list ap)
{
    char text[REASON_MAX];
    struct outbox_str ret = {NULL, 0};
    int n = vsnprintf(text, sizeof text, fmt, ap);
    size_t length = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    arena_str(&c->a->arena, text, length, &ret);
    return ret;
}

void outcome_set(struct call *c, uint32_t index, uint32_t verdict, const char *fmt, ...)
{
    va_list ap;
    struct outbox_outcome *outcome = c->outcomes[index];
    va_start(ap, fmt);
    outcome->reason = reason(c, fmt, ap);
    va_end(ap);
    outcome->verdict = verdict;
    c->some_failed = true;
}

void outcome_set_unavailable(struct call *c, uint32_t after_ms, const char *fmt, ...)
{
    va_list ap;
    c->stop = true;
    if (c->unavailable.p)
        return;
    va_start(ap, fmt);
    c->unavailable = reason(c, fmt, ap);
    va_end(ap);
    if (!c->unavailable.p)
        c->unavailable = outbox_cstr("out of memory");
    c->after_ms = after_ms;
}

bool outcome_key_must_wait(const struct call *c, uint32_t index)
{
    struct outbox_str key = c->msgs[index]->key;
    if (c->a->settings.window > 1 || key.n == 0 || !c->some_failed)
        return false;
    for (uint32_t i = 0; i < index; i++) {
        uint32_t verdict = c->outcomes[i]->verdict;
        if (verdict != OUTBOX_UNSET && verdict != OUTBOX_ACCEPTED &&
            outbox_str_eq(c->msgs[i]->key, key))
            return true;
    }
    return false;
}

/* ---- what the broker says ---- */

/* A queue with a fixed name is missing for every message, not for one. */
static bool has_fixed_queue(const struct amqp *a)
{
    return a->settings.queue_mode && a->settings.key.fixed;
}

void outcome_returned(struct amqp *a, const struct sent *sent, uint16_t code, const char *text)
{
    struct call *c = a->call;
    struct publication p;
    if (!c || sent->index == SENT_FORGOTTEN)
        return;
    if (publication_address(&a->settings, c->msgs[sent->index], &p, NULL) < 0)
        return; /* it was sent, so it has an address */
    if (a->settings.queue_mode)
        outcome_set(c, sent->index, OUTBOX_UNSET, "the queue `%s` does not exist: %u %s",
                    p.key_text, code, text);
    else
        outcome_set(c, sent->index, OUTBOX_UNSET,
                    "unroutable: no queue is bound to the exchange `%s` for the routing key "
                    "`%s`, or of a headers exchange for these headers: %u %s",
                    p.exchange_text, p.key_text, code, text);
    if (!has_fixed_queue(a))
        return;
    a->channel.declared = false;
    outcome_set_unavailable(c, 0, "%.*s", (int)c->outcomes[sent->index]->reason.n,
                            c->outcomes[sent->index]->reason.p);
}

static void nacked(struct call *c, const struct sent *sent)
{
    struct outbox_outcome *outcome = c->outcomes[sent->index];
    c->a->channel.stale = true; /* RabbitMQ may go on to nack on it when the cause is gone */
    c->nacks++;
    c->some_failed = true;
    outcome->verdict = OUTBOX_LATER;
    outcome->reason = outbox_cstr("the broker does not take it (nack): a full queue that rejects, "
                                  "or a queue without a leader");
    /* A whole window of nacks, and more than one: the rest would fare no better. */
    if (c->acks == 0 && c->nacks > 1 && c->nacks >= c->a->settings.window)
        c->stop = true;
}

void outcome_confirmed(void *amqp, const struct sent *sent, bool ack)
{
    struct amqp *a = amqp;
    struct call *c = a->call;
    if (!c)
        return;
    if (!ack) {
        a->host->count(a->host, "amqp_nacked_total", 1);
        nacked(c, sent);
        return;
    }
    c->acks++;
    c->outcomes[sent->index]->verdict = !sent->returned      ? OUTBOX_ACCEPTED
                                        : has_fixed_queue(a) ? OUTBOX_UNAVAILABLE
                                                             : OUTBOX_RETRY;
}

/* ---- the end of the call ---- */

static void set_unavailable(const struct call *c, uint32_t index)
{
    struct outbox_outcome *outcome = c->outcomes[index];
    outcome->verdict = OUTBOX_UNAVAILABLE;
    outcome->after_ms = c->after_ms;
    outcome->reason = c->unavailable;
}

/* Nothing but nacks: the cause is not these messages, it is where they all go. */
static void judge_nacks(struct call *c)
{
    struct amqp *a = c->a;
    if (c->acks + c->nacks == 0)
        return;
    bool only_nacks = c->acks == 0;
    if (only_nacks && (c->nacks > 1 || a->only_nacks)) {
        outcome_set_unavailable(c, 0,
                                "the broker takes none of the messages (nack): a full queue that "
                                "rejects, or a queue without a leader");
        for (uint32_t i = 0; i < c->n; i++)
            if (c->outcomes[i]->verdict == OUTBOX_LATER)
                set_unavailable(c, i);
    }
    a->only_nacks = only_nacks;
}

void outcome_finish(struct call *c)
{
    judge_nacks(c);
    /* What is unconfirmed stays unknown. */
    for (uint32_t i = c->next; c->unavailable.p && i < c->n; i++)
        if (c->outcomes[i]->verdict == OUTBOX_UNSET)
            set_unavailable(c, i);
}
