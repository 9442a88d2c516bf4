/* SPDX-License-Identifier: Apache-2.0 */
/* publish.c - a batch of messages: a window of them under way, each with an outcome. */
#include "common/failpoint.h"
#include "connection/monotonic.h"
#include "publish/call.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Between two looks at what the broker says. */
#define BURST_MESSAGES 64
#define BURST_BYTES (256 * 1024)
/* What is kept of a call's time for coming back: at most, and a part of it. */
#define MARGIN_MAX_US 200000
#define MARGIN_PART 20

struct limits limits_of(const struct outbox_call *call, int64_t *ret_margin_us)
{
    int64_t us = (int64_t)call->timeout_ms * 1000;
    *ret_margin_us = us / MARGIN_PART < MARGIN_MAX_US ? us / MARGIN_PART : MARGIN_MAX_US;
    return (struct limits){now_us() + us - *ret_margin_us, call->cancel_fd};
}

void call_cancel(struct call *c)
{
    int64_t until_us = now_us() + (int64_t)c->grace_ms * 1000;
    c->cancelled = c->stop = true;
    c->limits.cancel_fd = -1;
    if (c->limits.until_us > until_us)
        c->limits.until_us = until_us;
}

/* ---- what is next ---- */

static bool has_next(struct call *c, uint32_t *ret)
{
    if (c->again_at < c->n_again) {
        *ret = c->again[c->again_at];
        return true;
    }
    while (c->next < c->n && c->n_failed > 0 && call_must_wait(c, c->next))
        c->next++;
    *ret = c->next;
    return c->next < c->n;
}

static void take_next(struct call *c)
{
    c->alone = c->again_at < c->n_again;
    if (c->alone)
        c->again_at++;
    else
        c->next++;
}

/* One at a time to find a culprit, and as long as nobody knows whether the broker takes any. */
static uint32_t limit(const struct call *c)
{
    bool suspect = c->again_at < c->n_again || (c->alone && c->a->window.live > 0);
    return (suspect && c->suspicion) || !c->a->link.proven ? 1 : c->a->settings.window;
}

/* Messages of one id go one after the other: it is all that a return tells. */
static bool may_send(struct call *c)
{
    struct amqp *a = c->a;
    uint32_t index;
    if (c->stop || a->link.blocked || a->link.stopped || !window_has_room(&a->window, limit(c)) ||
        !has_next(c, &index))
        return false;
    if (c->peeked != index)
        c->hash = window_hash(c->msgs[index]->id.p, (size_t)c->msgs[index]->id.n);
    c->peeked = index;
    return !window_find(&a->window, c->hash);
}

/* ---- sending ---- */

static void send_one(struct call *c, size_t *bytes)
{
    struct amqp *a = c->a;
    struct parcel parcel;
    uint32_t index = c->peeked;
    take_next(c);
    if (!parcel_pack(a, c->msgs[index], &parcel)) {
        call_conclude(c, index, parcel.innocent ? OUTBOX_LATER : OUTBOX_REJECTED, "%s", parcel.why);
        return;
    }
    if (call_is_gone(c, index, &parcel))
        return;
    /* Counted before: whatever happens while it is sent may be because of it. */
    window_add(&a->window, index, c->hash, c->now_us);
    *bytes += parcel.body.len;
    if (!parcel_send(c, &parcel) || parcel.body.len < BURST_BYTES)
        return;
    c->now_us = now_us();
    struct sent *sent = window_find(&a->window, c->hash);
    if (sent)
        sent->at_us = c->now_us;
}

static void burst(struct call *c)
{
    struct link *l = &c->a->link;
    size_t bytes = 0;
    c->now_us = now_us();
    /* Stopped for a while, perhaps, while it waited for room. */
    if (c->now_us >= c->send_until_us) {
        c->stop = true;
        return;
    }
    if (limit(c) > 1 && c->n - c->next > 1)
        link_cork(c->a);
    for (int i = 0; i < BURST_MESSAGES && bytes < BURST_BYTES; i++) {
        if (l->dead || l->refused || !may_send(c))
            break;
        send_one(c, &bytes);
    }
    l->spoke_us = c->now_us;
}

/* ---- waiting ---- */

static int64_t confirm_due(const struct call *c)
{
    const struct sent *oldest = window_oldest(&c->a->window);
    return oldest ? oldest->at_us + c->a->settings.confirm_us : INT64_MAX;
}

/* False: the call is over. */
static bool wait_for_news(struct call *c, bool to_write)
{
    struct amqp *a = c->a;
    int64_t due_us = confirm_due(c), now;
    struct limits limits = c->limits;
    if (due_us < limits.until_us)
        limits.until_us = due_us;
    if (to_write && c->send_until_us < limits.until_us)
        limits.until_us = c->send_until_us;
    if (!to_write) {
        link_push(a);
        failpoint("after_publish");
    }
    int got = link_wait(a, to_write, &limits);
    if (a->link.dead || a->link.refused)
        return true;
    if (got & LINK_CANCEL)
        call_cancel(c);
    if ((got & LINK_WRITABLE) && to_write && !c->stop)
        burst(c);
    now = now_us();
    if (now >= confirm_due(c)) {
        c->silent = true;
        return false;
    }
    if (now >= c->send_until_us)
        c->stop = true;
    return now < c->limits.until_us;
}

static void run(struct call *c)
{
    struct amqp *a = c->a;
    struct link *l = &a->link;
    uint32_t index;
    while (!l->dead) {
        if (l->refused) {
            if (!call_recover(c))
                return;
            continue;
        }
        bool to_write = may_send(c);
        if (a->window.live == 0 && (c->stop || l->blocked || !has_next(c, &index)))
            return;
        if (!wait_for_news(c, to_write))
            return;
    }
}

/* ---- the end ---- */

/* Closes what must not be used any more; the result of the call. */
static int part(struct call *c, struct outbox_err *err)
{
    struct amqp *a = c->a;
    struct link *l = &a->link;
    uint32_t index;
    char peer[300];
    link_peer(a, peer);
    if (l->c && !l->dead)
        link_push(a);
    if (c->silent && !l->blocked)
        link_die(a, "no confirm within %lld ms", (long long)(a->settings.confirm_us / 1000));
    if (l->dead) {
        int r = outbox_fail(err, OUTBOX_E_RETRY, "%s: %s", peer, l->why);
        outbox_logf(a->host, OUTBOX_LOG_WARNING,
                    "the connection to %s is lost, %u messages were "
                    "under way: %s",
                    peer, a->window.live, l->why);
        link_close(a, LINK_UNSENT_IS_LOST);
        return c->cancelled ? outbox_fail(err, OUTBOX_E_CANCELLED, "called back") : r;
    }
    bool open_end = a->window.live > 0 || has_next(c, &index);
    window_forget(&a->window);
    l->kept = true;
    if (c->cancelled)
        return outbox_fail(err, OUTBOX_E_CANCELLED, "called back");
    if (c->unavailable.p)
        return outbox_fail(err, OUTBOX_E_RETRY, "%.*s", (int)c->unavailable.n, c->unavailable.p);
    return open_end ? outbox_fail(err, OUTBOX_E_TIMEOUT, "there was no time for all of them")
                    : OUTBOX_OK;
}

/* Nothing can be sent at all. */
static int refuse(struct call *c, int code, struct outbox_err *err)
{
    struct amqp *a = c->a;
    if (a->link.dead)
        link_close(a, LINK_UNSENT_IS_LOST);
    /* Whether it was an outage or too little time is for the host to judge. */
    if (code != OUTBOX_E_CANCELLED && code != OUTBOX_E_TIMEOUT) {
        call_unavailable(c, a->trouble.after_ms, "%s", a->trouble.text);
        call_judge(c);
    }
    return outbox_fail(err, code == OUTBOX_E_CONFIG ? OUTBOX_E_RETRY : code, "%s", a->trouble.text);
}

/*
 * A connection that had died unnoticed since the last call is no reason to fail this one: what was
 * sent into it can as well be sent again now as by the next call.
 */
static bool was_stale(const struct call *c, uint64_t confirms_before)
{
    const struct link *l = &c->a->link;
    return l->dead && l->kept && l->confirms == confirms_before && !c->stop &&
           now_us() < c->limits.until_us;
}

static int deliver(struct call *c, struct outbox_err *err)
{
    struct amqp *a = c->a;
    const struct limits limits = {c->send_until_us, c->limits.cancel_fd};
    char peer[300];
    for (;;) {
        int r = session_ready(a, &limits);
        if (r < 0)
            return refuse(c, r, err);
        uint64_t confirms = a->link.confirms;
        run(c);
        if (!was_stale(c, confirms) || !call_send_again(c, false))
            break;
        outbox_logf(a->host, OUTBOX_LOG_INFO, "the connection to %s was lost while idle: %s",
                    link_peer(a, peer), a->link.why);
        link_close(a, LINK_UNSENT_IS_LOST);
    }
    if (a->link.blocked)
        call_unavailable(c, 0, "%s takes no messages for now: %s", link_peer(a, peer),
                         a->link.alarm);
    call_judge(c);
    return part(c, err);
}

int publish_messages(struct amqp *a, const struct outbox_message *const *msgs, uint64_t n,
                     const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                     struct outbox_err *err)
{
    int64_t margin_us, half_us = (int64_t)call->timeout_ms * 500;
    struct limits limits = limits_of(call, &margin_us);
    int64_t confirm_us = a->settings.confirm_us < half_us ? a->settings.confirm_us : half_us;
    struct call c = {
        .a = a,
        .msgs = msgs,
        .outcomes = outcomes,
        .n = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX - 1,
        .peeked = UINT32_MAX,
        .limits = limits,
        .send_until_us = limits.until_us - confirm_us,
        .grace_ms = call->grace_ms,
    };
    if (n == 0)
        return OUTBOX_OK;
    if (watchdog_arm(&a->watchdog, limits.until_us + margin_us / 2, call->cancel_fd,
                     (int64_t)call->grace_ms * 1000 + margin_us / 2) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "cannot start a thread: %s", strerror(errno));
    a->call = &c;
    int r = deliver(&c, err);
    a->call = NULL;
    watchdog_disarm(&a->watchdog);
    return r;
}
