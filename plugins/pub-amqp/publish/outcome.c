/* SPDX-License-Identifier: Apache-2.0 */
/* outcome.c - what became of a message: its verdict, and why. */
#include "publish/call.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

void call_conclude(struct call *c, uint32_t index, uint32_t verdict, const char *fmt, ...)
{
    va_list ap;
    struct outbox_outcome *outcome = c->outcomes[index];
    va_start(ap, fmt);
    outcome->reason = reason(c, fmt, ap);
    va_end(ap);
    outcome->verdict = verdict;
    call_failed(c, index);
}

void call_unavailable(struct call *c, uint32_t after_ms, const char *fmt, ...)
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

/* ---- order, with window = 1 ---- */

void call_failed(struct call *c, uint32_t index)
{
    if (c->a->settings.window > 1 || c->msgs[index]->key.n == 0)
        return;
    if (!c->failed)
        c->failed = arena_array(&c->a->arena, c->n, sizeof *c->failed);
    if (!c->failed)
        c->stop = true;
    else if (c->n_failed == 0 || c->failed[c->n_failed - 1] != index) /* returned, then refused */
        c->failed[c->n_failed++] = index;
}

bool call_must_wait(const struct call *c, uint32_t index)
{
    for (size_t i = 0; i < c->n_failed; i++)
        if (outbox_str_eq(c->msgs[c->failed[i]]->key, c->msgs[index]->key))
            return true;
    return false;
}

/* ---- what the broker says ---- */

void call_returned(struct amqp *a, const struct sent *sent, uint16_t code, const char *text)
{
    struct call *c = a->call;
    struct parcel parcel;
    if (!c || sent->index == SENT_FORGOTTEN)
        return;
    bool fixed_queue = a->settings.queue_mode && a->settings.key.fixed;
    if (!parcel_address(a, c->msgs[sent->index], &parcel))
        return; /* it was sent, so it has an address */
    if (a->settings.queue_mode)
        call_conclude(c, sent->index, OUTBOX_UNSET, "the queue `%s` does not exist: %u %s",
                      parcel.key_text, code, text);
    else
        call_conclude(c, sent->index, OUTBOX_UNSET,
                      "unroutable: no queue is bound to the exchange `%s` for the routing key "
                      "`%s`: %u %s",
                      parcel.exchange_text, parcel.key_text, code, text);
    if (!fixed_queue)
        return;
    a->link.declared = false;
    call_unavailable(c, 0, "%.*s", (int)c->outcomes[sent->index]->reason.n,
                     c->outcomes[sent->index]->reason.p);
}

static void nacked(struct call *c, const struct sent *sent)
{
    struct outbox_outcome *outcome = c->outcomes[sent->index];
    c->nacks++;
    outcome->verdict = OUTBOX_LATER;
    outcome->reason = outbox_cstr("the broker does not take it (nack): a full queue that rejects, "
                                  "or a queue without a leader");
    call_failed(c, sent->index);
    /* A whole window of them, and more than one: the rest would fare no better. */
    if (c->acks == 0 && c->nacks > 1 && c->nacks >= c->a->settings.window)
        c->stop = true;
}

void call_settled(void *amqp, const struct sent *sent, bool ack)
{
    struct amqp *a = amqp;
    struct call *c = a->call;
    if (!c)
        return;
    struct outbox_outcome *outcome = c->outcomes[sent->index];
    if (!ack) {
        a->host->count(a->host, "amqp_nacked_total", 1);
        nacked(c, sent);
        return;
    }
    c->acks++;
    if (!sent->returned)
        outcome->verdict = OUTBOX_ACCEPTED;
    else
        outcome->verdict = c->a->settings.queue_mode && c->a->settings.key.fixed
                               ? OUTBOX_UNAVAILABLE
                               : OUTBOX_RETRY;
}

/* ---- the end of the call ---- */

static void set_unavailable(const struct call *c, uint32_t index)
{
    struct outbox_outcome *outcome = c->outcomes[index];
    if (outcome->verdict != OUTBOX_UNSET)
        return;
    outcome->verdict = OUTBOX_UNAVAILABLE;
    outcome->after_ms = c->after_ms;
    outcome->reason = c->unavailable;
}

/* Nothing but nacks: it is not these messages, it is where they all go. */
static void judge_nacks(struct call *c)
{
    struct amqp *a = c->a;
    if (c->acks + c->nacks == 0)
        return;
    bool only_nacks = c->acks == 0;
    if (only_nacks && (c->nacks > 1 || a->only_nacks)) {
        call_unavailable(c, 0,
                         "the broker takes none of the messages (nack): a full queue that "
                         "rejects, or a queue without a leader");
        for (uint32_t i = 0; i < c->n; i++)
            if (c->outcomes[i]->verdict == OUTBOX_LATER) {
                c->outcomes[i]->verdict = OUTBOX_UNSET;
                set_unavailable(c, i);
            }
    }
    a->only_nacks = only_nacks;
}

void call_judge(struct call *c)
{
    judge_nacks(c);
    if (!c->unavailable.p)
        return;
    /* What is under way stays unknown. */
    for (uint32_t i = c->again_at; i < c->n_again; i++)
        set_unavailable(c, c->again[i]);
    for (uint32_t i = c->next; i < c->n; i++)
        set_unavailable(c, i);
}
