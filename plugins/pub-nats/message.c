/* SPDX-License-Identifier: Apache-2.0 */
/* message.c - from a message of the store to one of NATS. */
#include "broker.h"

#include <inttypes.h>
#include <strings.h>

/* The library writes what it is given: what is no header of NATS would become something else. */
static int add_header(natsMsg *msg, const char *name, struct outbox_str value,
                      struct outbox_err *err)
{
    char small[256], *text = value.n < sizeof small ? small : malloc((size_t)value.n + 1);
    const char *fault = NULL;
    natsStatus s = NATS_NO_MEMORY;
    if (!text)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (value.n > 0)
        memcpy(text, value.p, (size_t)value.n);
    text[value.n] = '\0';
    if (strlen(text) != value.n || strpbrk(text, "\r\n"))
        fault = "has a NUL or the end of a line";
    else
        s = natsMsgHeader_Set(msg, name, text);
    if (text != small)
        free(text);
    if (fault)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the header `%.80s` %s", name, fault);
    return s == NATS_OK ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "%s", natsStatus_GetText(s));
}

static int check_name(const struct broker *b, const struct outbox_header *h, struct outbox_err *err)
{
    for (uint64_t i = 0; i < h->name.n; i++) {
        unsigned char c = (unsigned char)h->name.p[i];
        if (c <= ' ' || c >= 0x7F || c == ':')
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "the header `%.80s` has a name with something else than ASCII, a "
                               "blank or a `:`",
                               h->name.p);
    }
    if (h->name.n == 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "a header has no name");
    /* Nats-Rollup empties a stream, and others tell JetStream what to do, too. */
    if (strncasecmp(h->name.p, "Nats-", 5) == 0 &&
        !outbox_template_allows(b->client.host, b->client.cfg, "allow_headers", h->name.p))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the header `%.80s` is for JetStream, and not among allow_headers",
                           h->name.p);
    return OUTBOX_OK;
}

static int is_ours(const struct settings *set, const char *name)
{
    return strcasecmp(name, "Nats-Msg-Id") == 0 ||
           (set->stream && strcasecmp(name, "Nats-Expected-Stream") == 0) ||
           (set->key_header && strcasecmp(name, set->key_header) == 0);
}

static int add_headers(const struct broker *b, const struct outbox_message *m, natsMsg *msg,
                       struct outbox_err *err)
{
    const struct settings *set = &b->settings;
    int r = add_header(msg, "Nats-Msg-Id", m->id, err);
    if (r == OUTBOX_OK && set->stream)
        r = add_header(msg, "Nats-Expected-Stream", outbox_cstr(set->stream), err);
    if (r == OUTBOX_OK && set->key_header && m->key.n > 0)
        r = add_header(msg, set->key_header, m->key, err);
    for (uint64_t i = 0; r == OUTBOX_OK && i < m->n_headers; i++) {
        const struct outbox_header *h = &m->headers[i];
        if (is_ours(set, h->name.p))
            continue;
        r = check_name(b, h, err);
        if (r == OUTBOX_OK)
            r = add_header(msg, h->name.p, h->value, err);
    }
    return r;
}

static int make(struct broker *b, const struct outbox_job *job, natsMsg **ret,
                struct outbox_err *err)
{
    const struct outbox_message *m = job->msg;
    char reply[INBOX_MAX + 32];
    natsStatus s;
    int r = subject_make(b, m, err);
    if (r < 0)
        return r;
    if (m->payload.n > INT32_MAX || (int64_t)m->payload.n > natsConnection_GetMaxPayload(b->nc))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the payload is larger than the server's max_payload, %" PRId64 " bytes",
                           natsConnection_GetMaxPayload(b->nc));
    snprintf(reply, sizeof reply, "%s%" PRIu64, b->inbox, job->number);
    s = natsMsg_Create(ret, b->subject, reply, m->payload.p, (int)m->payload.n);
    if (s != NATS_OK)
        return outbox_fail(err, OUTBOX_E_RETRY, "%s", natsStatus_GetText(s));
    return add_headers(b, m, *ret, err);
}

int message_send(struct broker *b, struct outbox_job *job)
{
    struct outbox_err err = {.size = sizeof err};
    natsMsg *msg = NULL;
    natsStatus s = NATS_OK;
    int r;
    job->number = ++b->number;
    r = make(b, job, &msg, &err);
    if (r == OUTBOX_OK)
        s = natsConnection_PublishMsg(b->nc, msg);
    natsMsg_Destroy(msg);
    if (s == NATS_MAX_PAYLOAD)
        r = outbox_fail(&err, OUTBOX_E_CONFIG,
                        "with its headers it is larger than the server's max_payload, %" PRId64
                        " bytes",
                        natsConnection_GetMaxPayload(b->nc));
    if (r < 0) {
        outbox_job_done(&b->client, job, r == OUTBOX_E_RETRY ? OUTBOX_LATER : OUTBOX_REJECTED, 0,
                        "%s", err.text);
        return 0;
    }
    if (s == NATS_OK) {
        outbox_client_sent(&b->client, job);
        return 0;
    }
    if (s == NATS_NO_SERVER_SUPPORT)
        connection_end(b, OUTBOX_E_CONFIG, "the server has no headers: it is older than 2.2");
    else
        connection_end(b, OUTBOX_E_RETRY, "%s", natsStatus_GetText(s));
    return OUTBOX_E_RETRY;
}
