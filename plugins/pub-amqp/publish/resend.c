/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resend.c - the broker closed the channel because of one message, and does not say which. What
 * was under way is sent again one by one, so that only that one has to pay for it.
 */
#include "publish/call.h"

#include <string.h>

bool call_send_again(struct call *c, bool suspicion)
{
    struct amqp *a = c->a;
    uint32_t live = a->window.live, waiting = c->n_again - c->again_at;
    uint32_t *list = arena_alloc(&a->arena, ((size_t)live + waiting + 1) * sizeof *list);
    if (!list)
        return false;
    window_indexes(&a->window, list);
    if (waiting > 0)
        memcpy(list + live, c->again + c->again_at, waiting * sizeof *list);
    c->suspicion = suspicion || (c->suspicion && waiting > 0);
    c->again = list;
    c->again_at = 0;
    c->n_again = live + waiting;
    window_reset(&a->window);
    return true;
}

/* ---- exchanges that are not there ---- */

static struct gone *find_gone(const struct call *c, const char *name)
{
    for (size_t i = 0; i < c->n_gone; i++)
        if (strcmp(c->gone[i].name, name) == 0)
            return &c->gone[i];
    return NULL;
}

static void fail(struct call *c, uint32_t index, uint32_t verdict, const struct reply *reply)
{
    call_conclude(c, index, verdict, "the broker refuses it: %u %s", reply->code, reply->text);
}

bool call_is_gone(struct call *c, uint32_t index, const struct parcel *parcel)
{
    const struct gone *gone = c->n_gone ? find_gone(c, parcel->exchange_text) : NULL;
    if (gone)
        fail(c, index, OUTBOX_RETRY, &gone->reply);
    return gone != NULL;
}

/* The next message for the same exchange need not close the channel again. */
static void remember_gone(struct call *c, uint32_t index, const struct reply *reply)
{
    struct parcel parcel;
    if (!reply_is_about_exchange(reply) || c->n_gone == GONE_MAX ||
        !parcel_address(c->a, c->msgs[index], &parcel))
        return;
    if (!c->gone)
        c->gone = arena_array(&c->a->arena, GONE_MAX, sizeof *c->gone);
    if (!c->gone)
        return;
    struct gone *gone = &c->gone[c->n_gone++];
    memcpy(gone->name, parcel.exchange_text, sizeof gone->name);
    gone->reply = *reply;
}

/* ---- who was it? ---- */

static void charge(struct call *c, const struct reply *reply, enum blame fault)
{
    uint32_t index;
    window_indexes(&c->a->window, &index);
    window_reset(&c->a->window);
    fail(c, index, fault == BLAME_MESSAGE_FOR_GOOD ? OUTBOX_REJECTED : OUTBOX_RETRY, reply);
    remember_gone(c, index, reply);
}

bool call_recover(struct call *c)
{
    struct amqp *a = c->a;
    const struct settings *s = &a->settings;
    struct reply reply = a->link.reply;
    enum blame fault = blame_for(&reply, s->exchange.fixed, s->key.fixed);
    char peer[300];
    if (fault == BLAME_NO_MESSAGE) {
        a->link.declared = false;
        call_send_again(c, true);
        call_unavailable(c, 0, "%s: the broker refuses everything: %u %s", link_peer(a, peer),
                         reply.code, reply.text);
        return false;
    }
    if (a->window.live == 1 && a->window.unconfirmed == 1) {
        charge(c, &reply, fault);
    } else {
        outbox_logf(a->host, OUTBOX_LOG_INFO,
                    "the broker closed the channel because of a message (%u %s); sending %u of "
                    "them again one by one",
                    reply.code, reply.text, a->window.live);
        if (!call_send_again(c, true)) {
            call_unavailable(c, 0, "out of memory");
            return false;
        }
    }
    if (session_channel(a, &c->limits) == OUTBOX_OK)
        return true;
    if (a->trouble.code == OUTBOX_E_CANCELLED)
        call_cancel(c);
    else if (a->trouble.code == OUTBOX_E_TIMEOUT)
        c->stop = true;
    else
        call_unavailable(c, a->trouble.after_ms, "%s", a->trouble.text);
    return false;
}
