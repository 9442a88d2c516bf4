/* SPDX-License-Identifier: Apache-2.0 */
/* connection.c - the connection: from its beginning to its end. All by the client's thread. */
#include "broker.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

void connection_end(struct broker *b, int code, const char *why, ...)
{
    va_list ap;
    if (b->gone)
        return;
    b->gone = code;
    va_start(ap, why);
    vsnprintf(b->why, sizeof b->why, why, ap);
    va_end(ap);
}

/* Whatever the library has in its buffer is dropped with the socket, not sent. */
void connection_drop(struct broker *b)
{
    int fd, unused;
    b->client.is_connected = 0;
    b->look = LOOK_NOTHING;
    if (!b->nc)
        return;
    fd = link_fd(b->link, &unused);
    if (fd >= 0) {
        shutdown(fd, SHUT_RDWR);
        for (int i = 0; i < 1000 && !natsConnection_IsClosed(b->nc); i++)
            natsConnection_ProcessReadEvent(b->nc);
    }
    natsConnection_Close(b->nc);
    natsSubscription_Destroy(b->sub);
    natsConnection_Destroy(b->nc);
    b->nc = NULL;
    b->sub = NULL;
    link_leave(b->link);
    b->link = NULL;
}

natsStatus connection_ask(struct broker *b, const char *subject, const char *token,
                          const char *payload)
{
    char reply[INBOX_MAX + 32];
    snprintf(reply, sizeof reply, "%s%s", b->inbox, token);
    return natsConnection_PublishRequest(b->nc, subject, reply, payload, (int)strlen(payload));
}

/* ---- connecting ---- */

/* Answers come to a subject that nobody can guess, and is new for each connection. */
static int make_inbox(struct broker *b, struct outbox_err *err)
{
    unsigned char bytes[12];
    size_t n;
    if (getentropy(bytes, sizeof bytes) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "there are no random numbers");
    n = (size_t)snprintf(b->inbox, sizeof b->inbox, "%s.", b->settings.inbox_prefix);
    for (size_t i = 0; i < sizeof bytes; i++, n += 2)
        snprintf(b->inbox + n, sizeof b->inbox - n, "%02x", bytes[i]);
    snprintf(b->inbox + n, sizeof b->inbox - n, ".");
    return OUTBOX_OK;
}

static int subscribe(struct broker *b, struct outbox_err *err)
{
    char all[INBOX_MAX + 2];
    natsStatus s;
    snprintf(all, sizeof all, "%s*", b->inbox);
    s = natsConnection_Subscribe(&b->sub, b->nc, all, link_on_message, b->link);
    if (s == NATS_OK) {
        s = natsSubscription_SetOnCompleteCB(b->sub, link_on_complete, b->link);
        if (s == NATS_OK)
            link_ref(b->link);
        natsSubscription_SetPendingLimits(b->sub, -1, -1);
    }
    return s == NATS_OK ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "%s", natsStatus_GetText(s));
}

/* A machine that has gone is noticed by the kernel, too. */
static void set_socket(struct broker *b)
{
    int unused, fd = link_fd(b->link, &unused), yes = 1;
    unsigned ms = (unsigned)(b->settings.publish_us / 1000);
    if (fd < 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
}

static int connect_host(struct broker *b, const struct outbox_url_host *h, struct outbox_err *err)
{
    struct outbox_client *c = &b->client;
    int64_t until_us;
    int r = make_inbox(b, err);
    b->gone = b->is_named = 0;
    b->probe_forbidden = b->api_forbidden = 0; /* the user's rights may be others by now */
    b->why_until_us = b->look_until_us = INT64_MAX;
    b->why[0] = '\0';
    if (r == OUTBOX_OK)
        r = attempt_connect(b, h, err);
    if (r == OUTBOX_OK)
        r = subscribe(b, err);
    if (r < 0 || c->ending)
        return r < 0 ? r : OUTBOX_E_RETRY;
    set_socket(b);
    if (b->settings.tls && link_guard(b->link, b->settings.publish_us) != 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "no thread");
    look_begin(b);
    until_us = outbox_client_now_us(c) + b->settings.connect_us;
    while (b->look != LOOK_NOTHING && !b->gone && !c->ending && outbox_client_now_us(c) < until_us)
        connection_step(b, until_us);
    if (c->ending)
        return OUTBOX_E_RETRY;
    if (b->gone)
        return outbox_fail(err, b->gone, "%s: %s", h->peer, b->why);
    if (b->look != LOOK_NOTHING)
        return outbox_fail(err, OUTBOX_E_RETRY, "%s: no answer within connect_timeout", h->peer);
    if (b->looked.code < 0)
        return outbox_fail(err, b->looked.code, "%s: %s", h->peer, b->looked.text);
    outbox_logf(c->host, OUTBOX_LOG_DEBUG, "connected to %s", h->peer);
    return OUTBOX_OK;
}

/* Tries the hosts one after the other. What a person has to look at ends it. */
int connection_make(struct broker *b, struct outbox_err *err)
{
    int r = OUTBOX_E_RETRY;
    for (uint32_t i = 0; i < b->settings.url.n_hosts && r == OUTBOX_E_RETRY && !b->client.ending;
         i++) {
        r = connect_host(b, &b->settings.url.hosts[i], err);
        if (r != OUTBOX_OK)
            connection_drop(b);
    }
    return r;
}

/* ---- waiting ---- */

/* The server has ended the connection, or the library has. */
static void take_end(struct broker *b)
{
    const char *text = NULL;
    natsStatus s = natsConnection_GetLastError(b->nc, &text);
    if (s == NATS_OK || s == NATS_CONNECTION_CLOSED || !text || !*text)
        text = link_is_shut(b->link)
                   ? "no confirm within publish_timeout, in the middle of a record"
                   : "the server has closed it";
    b->is_named = strstr(text, "Maximum Payload") || strstr(text, "maximum control line") ||
                  strstr(text, "Maximum Control Line");
    connection_end(b, OUTBOX_E_RETRY, "%s", text);
}

static void take_answers(struct broker *b)
{
    struct answers all = link_take(b->link);
    for (size_t i = 0; i < all.n; i++)
        answer_take(b, &all.items[i]);
    link_clear(&all);
}

void connection_step(struct broker *b, int64_t until_us)
{
    struct outbox_client *c = &b->client;
    int wants_write = 0, fd = b->nc ? link_fd(b->link, &wants_write) : -1;
    short got = outbox_client_wait(c, fd, wants_write ? POLLIN | POLLOUT : POLLIN, until_us);
    if (!b->nc || c->ending)
        return;
    pthread_mutex_unlock(&c->lock);
    link_busy(b->link, 1);
    if (got & (POLLIN | POLLERR | POLLHUP))
        natsConnection_ProcessReadEvent(b->nc);
    if (got & POLLOUT)
        natsConnection_ProcessWriteEvent(b->nc);
    link_busy(b->link, 0);
    pthread_mutex_lock(&c->lock);
    if (c->ending)
        return;
    take_answers(b);
    if (natsConnection_IsClosed(b->nc))
        take_end(b);
}
