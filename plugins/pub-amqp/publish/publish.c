/* SPDX-License-Identifier: Apache-2.0 */
/* publish.c - a batch of messages: a window of them is unconfirmed, each gets an outcome. */
#include "publish/publish.h"

#include "common/failpoint.h"
#include "connection/monotonic.h"
#include "publish/call.h"
#include "publish/outcome.h"
#include "publish/resend.h"
#include "publish/send.h"
#include "session.h"

#include <outbox/helpers.h>

/* After so much the broker's frames are read before more is sent. */
#define BURST_MESSAGES 64
#define BURST_BYTES (256 * 1024)
/* After a refused login: soon the secret may be another one. Unchanged it is not tried (sign_in.c).
 */
#define REFUSED_AFTER_MS 1000

/* ---- what is next ---- */

/* The next message that is not sent, has no outcome and need not wait for its key; n: none. */
static uint32_t next_message(struct call *c)
{
    while (c->next < c->n &&
           (c->outcomes[c->next]->verdict != OUTBOX_UNSET || outcome_key_must_wait(c, c->next)))
        c->next++;
    return c->next;
}

/*
 * How many messages may be unconfirmed: a window of them, but only one at a time
 * - before the first confirm on a connection: a broker with an alarm says so only when something
 *   was published, and publishes what was sent when the alarm ends, so each message is at risk;
 * - while a suspect is next or unconfirmed: only the one that is alone is known to be the cause
 *   when the broker closes the channel again.
 */
static uint32_t unconfirmed_limit(struct call *c)
{
    const struct sent *oldest = window_oldest(&c->a->window);
    bool suspect = next_message(c) < c->suspects_end || (oldest && oldest->index < c->suspects_end);
    return suspect || c->a->channel.confirms == 0 ? 1 : c->a->settings.window;
}

/*
 * May the next message be sent now? While one of the same id is unconfirmed it may not: a return
 * names a message by its id alone, and could mean either of them.
 */
static bool may_send(struct call *c, uint64_t *ret_hash)
{
    struct amqp *a = c->a;
    if (c->stop || a->connection.failed || a->connection.blocked || !a->channel.open ||
        a->channel.paused || next_message(c) == c->n ||
        !window_has_room(&a->window, unconfirmed_limit(c)))
        return false;
    *ret_hash = window_hash(c->msgs[c->next]->id.p, (size_t)c->msgs[c->next]->id.n);
    return !window_find(&a->window, *ret_hash);
}

/* ---- sending ---- */

/* Returns the size of its body, if it was sent. */
static size_t send_next(struct call *c, uint64_t hash)
{
    struct amqp *a = c->a;
    struct outbox_err err;
    struct publication p;
    uint32_t index = c->next++;
    err.size = sizeof err;
    const struct publication_room room = {c->headers, &a->fields};
    arena_reset(&a->fields);
    int r =
        publication_pack(&a->settings, a->connection.frame_max, c->msgs[index], &room, &p, &err);
    if (r < 0) {
        outcome_set(c, index, r == OUTBOX_E_CONFIG ? OUTBOX_REJECTED : OUTBOX_LATER, "%s",
                    err.text);
        return 0;
    }
    uint64_t body_max = a->channel.body_max;
    if (body_max > 0 && p.body.len > body_max) {
        outcome_set(c, index, OUTBOX_REJECTED,
                    "the payload has %zu bytes, and the broker takes %llu at most "
                    "(max_message_size)",
                    p.body.len, (unsigned long long)body_max);
        return 0;
    }
    if (resend_refuse_missing(c, index, &p))
        return 0;
    /* Counted before: whatever happens while it is sent may be because of it. */
    struct sent *sent = window_add(&a->window, index, hash, now_us());
    send_publication(c, &p);
    sent->at_us = now_us(); /* a large one takes long */
    return p.body.len;
}

static void send_burst(struct call *c)
{
    uint64_t hash;
    size_t bytes = 0;
    /* It may have waited for room until it was too late. */
    if (now_us() >= c->send_until_us) {
        c->stop = true;
        return;
    }
    connection_collect(&c->a->connection);
    for (int i = 0; i < BURST_MESSAGES && bytes < BURST_BYTES && may_send(c, &hash); i++)
        bytes += send_next(c, hash);
}

/* ---- waiting ---- */

/* When the oldest unconfirmed message has waited for confirm_timeout. */
static int64_t confirm_due(const struct call *c)
{
    const struct sent *oldest = window_oldest(&c->a->window);
    return oldest ? oldest->at_us + c->a->settings.confirm_us : INT64_MAX;
}

/* Waits for frames of the broker, or for room to send more. False: the call is over. */
static bool wait_and_send(struct call *c, bool to_write)
{
    struct connection *conn = &c->a->connection;
    struct limits limits = c->limits;
    limits.until_us = earlier(limits.until_us, confirm_due(c));
    if (to_write) {
        limits.until_us = earlier(limits.until_us, c->send_until_us);
    } else {
        connection_flush(conn);
        failpoint("after_publish");
    }
    int got = connection_wait(conn, to_write, &limits);
    if (conn->failed || !c->a->channel.open)
        return true;
    if (got & CONNECTION_CANCELLED)
        call_cancel(c);
    if ((got & CONNECTION_WRITABLE) && !c->stop)
        send_burst(c);
    int64_t now = now_us();
    if (now >= confirm_due(c)) {
        c->stop = true;
        if (!conn->blocked)
            connection_fail(conn, "no confirm within %lld ms",
                            (long long)(c->a->settings.confirm_us / 1000));
        return false;
    }
    c->stop |= now >= c->send_until_us;
    return now < c->limits.until_us;
}

/* Until all is confirmed, or nothing more can be. */
static void run(struct call *c)
{
    struct amqp *a = c->a;
    uint64_t hash;
    while (!a->connection.failed) {
        if (!a->channel.open) {
            if (resend_after_close(c) < 0)
                return;
            continue;
        }
        bool to_write = may_send(c, &hash);
        if (a->window.live == 0 && (c->stop || a->connection.blocked || next_message(c) == c->n))
            return;
        if (!wait_and_send(c, to_write))
            return;
    }
}

/* ---- the end ---- */

/* Closes what must not be used any more; the result of the call. */
static int finish(struct call *c, struct outbox_err *err)
{
    struct amqp *a = c->a;
    struct connection *conn = &a->connection;
    outcome_finish(c);
    if (conn->failed) {
        int r = outbox_fail(err, OUTBOX_E_RETRY, "%s: %s", conn->peer, conn->why);
        outbox_logf(a->host, OUTBOX_LOG_WARNING,
                    "the connection to %s is lost, %u messages were unconfirmed: %s", conn->peer,
                    a->window.live, conn->why);
        session_close(a);
        return c->cancelled ? outbox_fail(err, OUTBOX_E_CANCELLED, "cancelled") : r;
    }
    bool all_done = a->window.live == 0 && next_message(c) == c->n;
    connection_flush(conn);
    window_forget(&a->window);
    if (c->cancelled)
        return outbox_fail(err, OUTBOX_E_CANCELLED, "cancelled");
    if (c->unavailable.p)
        return outbox_fail(err, OUTBOX_E_RETRY, "%.*s", (int)c->unavailable.n, c->unavailable.p);
    return all_done ? OUTBOX_OK
                    : outbox_fail(err, OUTBOX_E_TIMEOUT, "there was no time for all of them");
}

/* Nothing can be sent at all. */
static int refuse(struct call *c, const struct outbox_err *why, struct outbox_err *err)
{
    bool refused = why->code == OUTBOX_E_CONFIG && !c->a->connection.state;
    /* Whether it was an outage or too little time is for the host to judge. */
    if (why->code != OUTBOX_E_CANCELLED && why->code != OUTBOX_E_TIMEOUT &&
        why->code != OUTBOX_E_FULL) {
        outcome_set_unavailable(c, refused ? REFUSED_AFTER_MS : 0, "%s", why->text);
        outcome_finish(c);
    }
    return outbox_fail(err, why->code == OUTBOX_E_CONFIG ? OUTBOX_E_RETRY : why->code, "%s",
                       why->text);
}

/*
 * A connection that had died unnoticed since the last call is no reason to fail this one: what was
 * sent into it can as well be sent again now as by the next call.
 */
static bool was_stale(const struct call *c, uint64_t confirms_before)
{
    const struct connection *conn = &c->a->connection;
    return conn->failed && conn->opened_us < c->began_us &&
           c->a->channel.confirms == confirms_before && !c->stop && now_us() < c->limits.until_us;
}

static int deliver(struct call *c, struct outbox_err *err)
{
    struct amqp *a = c->a;
    const struct connection *conn = &a->connection;
    const struct limits limits = {c->send_until_us, c->limits.cancel_fd};
    struct outbox_err why = {.size = sizeof why};
    for (;;) {
        if (session_ready(a, &limits, &why) < 0)
            return refuse(c, &why, err);
        uint64_t confirms = a->channel.confirms;
        run(c);
        if (!was_stale(c, confirms))
            break;
        outbox_logf(a->host, OUTBOX_LOG_INFO, "the connection to %s was lost while idle: %s",
                    conn->peer, conn->why);
        resend_unconfirmed(c);
        session_close(a);
    }
    if (conn->blocked)
        outcome_set_unavailable(c, 0, "%s", conn->blocked_why);
    return finish(c, err);
}

int publish_messages(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                     const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                     struct outbox_err *err)
{
    struct amqp *a = instance;
    struct call c = {
        .a = a,
        .msgs = msgs,
        .outcomes = outcomes,
        .n = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX - 1,
        .began_us = now_us(),
        .grace_ms = call->grace_ms,
    };
    uint64_t most_headers = 0;
    for (uint32_t i = 0; i < c.n; i++)
        most_headers = msgs[i]->n_headers > most_headers ? msgs[i]->n_headers : most_headers;
    arena_reset(&a->arena);
    c.headers = arena_array(&a->arena, most_headers + 1, sizeof *c.headers);
    if (!c.headers)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory for %llu headers",
                           (unsigned long long)most_headers);
    int r = n > 0 ? call_begin(a, call, &c.limits, err) : OUTBOX_OK;
    if (r < 0 || n == 0)
        return r;
    c.send_until_us =
        c.limits.until_us - earlier(a->settings.confirm_us, (int64_t)call->timeout_ms * 500);
    a->call = &c;
    r = deliver(&c, err);
    a->call = NULL;
    watchdog_disarm(&a->watchdog);
    return r;
}
