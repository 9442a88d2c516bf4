/* SPDX-License-Identifier: Apache-2.0 */
/* message.c - an outbox message as one of AMQP. */
#include "connection/monotonic.h"
#include "publish/call.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Around a frame; of a content header before its properties; both fixed by AMQP. */
#define FRAME_EXTRA 8
#define HEADER_EXTRA 14
#define PERSISTENT 2
#define TRANSIENT 1

static bool cannot(struct parcel *p, const char *what, const char *fault)
{
    if (fault)
        snprintf(p->why, sizeof p->why, "%s %s", what, fault);
    return fault == NULL;
}

/* ---- where to ---- */

static bool is_allowed(const struct settings *s, const char *name)
{
    for (size_t i = 0; i < s->n_allowed; i++)
        if (fnmatch(s->allowed[i], name, 0) == 0)
            return true;
    return false;
}

/* A name that came from the message leads only to where the operator allowed it. */
static bool check_allowed(const struct settings *s, const struct template *t, const char *name,
                          struct parcel *p)
{
    if (t->fixed)
        return true;
    if (name[0] == '\0') {
        snprintf(p->why, sizeof p->why, "%s is empty for this message", t->option);
        return false;
    }
    if (is_allowed(s, name))
        return true;
    snprintf(p->why, sizeof p->why, "%s `%.200s` is not among allow_%ss", t->option, name,
             t->option);
    return false;
}

bool parcel_address(const struct amqp *a, const struct outbox_message *msg, struct parcel *p)
{
    const struct settings *s = &a->settings;
    size_t n;
    if (template_render(&s->exchange, msg, p->exchange_text, &n, p->why) < 0)
        return false;
    p->exchange = bytes_of(p->exchange_text, n);
    if (template_render(&s->key, msg, p->key_text, &n, p->why) < 0)
        return false;
    p->key = bytes_of(p->key_text, n);
    return s->queue_mode ? check_allowed(s, &s->key, p->key_text, p)
                         : check_allowed(s, &s->exchange, p->exchange_text, p);
}

/* ---- what with ---- */

static bool is_content_type(struct outbox_str name)
{
    return name.n == 12 && strncasecmp(name.p, "content-type", 12) == 0;
}

/* Room for the headers; it only ever grows. */
static bool make_room(struct amqp *a, size_t n)
{
    if (n <= a->headers_room)
        return true;
    amqp_table_entry_t *grown = realloc(a->headers, n * sizeof *grown);
    if (!grown)
        return false;
    a->headers = grown;
    a->headers_room = n;
    return true;
}

static bool add_headers(struct amqp *a, const struct outbox_message *msg, struct parcel *p,
                        size_t *size)
{
    amqp_basic_properties_t *props = &p->properties;
    int n = 0;
    if (!make_room(a, (size_t)msg->n_headers)) {
        snprintf(p->why, sizeof p->why, "out of memory for %llu headers",
                 (unsigned long long)msg->n_headers);
        p->innocent = true;
        return false;
    }
    for (uint64_t i = 0; i < msg->n_headers; i++) {
        const struct outbox_header *h = &msg->headers[i];
        if (is_content_type(h->name) && !(props->_flags & AMQP_BASIC_CONTENT_TYPE_FLAG)) {
            if (!cannot(p, "header content-type", short_text_fault(h->value.p, (size_t)h->value.n)))
                return false;
            props->_flags |= AMQP_BASIC_CONTENT_TYPE_FLAG;
            props->content_type = bytes_of(h->value.p, (size_t)h->value.n);
            *size += 1 + (size_t)h->value.n;
            continue;
        }
        if (!cannot(p, "the name of a header", short_text_fault(h->name.p, (size_t)h->name.n)))
            return false;
        amqp_table_entry_t *entry = &a->headers[n++];
        entry->key = bytes_of(h->name.p, (size_t)h->name.n);
        entry->value.kind = AMQP_FIELD_KIND_UTF8;
        entry->value.value.bytes = bytes_of(h->value.p, (size_t)h->value.n);
        *size += 6 + (size_t)h->name.n + (size_t)h->value.n;
    }
    if (n > 0) {
        props->_flags |= AMQP_BASIC_HEADERS_FLAG;
        props->headers = (amqp_table_t){n, a->headers};
        *size += 4;
    }
    return true;
}

bool parcel_pack(struct amqp *a, const struct outbox_message *msg, struct parcel *p)
{
    amqp_basic_properties_t *props = &p->properties;
    size_t size = HEADER_EXTRA + 1 + 8 + 1 + (size_t)msg->id.n + 1 + (size_t)msg->topic.n;
    size_t room = a->link.frame_max - FRAME_EXTRA;
    p->innocent = false;
    if (!parcel_address(a, msg, p) ||
        !cannot(p, "id", short_text_fault(msg->id.p, (size_t)msg->id.n)) ||
        !cannot(p, "topic", short_text_fault(msg->topic.p, (size_t)msg->topic.n)))
        return false;
    memset(props, 0, sizeof *props);
    props->_flags = AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_TYPE_FLAG |
                    AMQP_BASIC_DELIVERY_MODE_FLAG;
    props->message_id = bytes_of(msg->id.p, (size_t)msg->id.n);
    props->type = bytes_of(msg->topic.p, (size_t)msg->topic.n);
    props->timestamp = msg->created_us > 0 ? (uint64_t)msg->created_us / 1000000 : 0;
    props->delivery_mode = a->settings.persistent ? PERSISTENT : TRANSIENT;
    if (msg->n_headers > 0 && !add_headers(a, msg, p, &size))
        return false;
    if (size > room) {
        snprintf(p->why, sizeof p->why,
                 "the headers take %zu bytes, and the broker has room for %zu", size, room);
        return false;
    }
    p->body = bytes_of(msg->payload.p, msg->payload.p ? (size_t)msg->payload.n : 0);
    return true;
}

/* ---- sending ---- */

static bool sent(struct amqp *a, int status)
{
    if (status != AMQP_STATUS_OK)
        link_die(a, "%s", amqp_error_string2(status));
    return status == AMQP_STATUS_OK;
}

/* Waits until the next piece may be sent. False: it never may. */
static bool may_go_on(struct call *c)
{
    struct link *l = &c->a->link;
    for (;;) {
        int got = link_wait(c->a, !l->blocked, &c->limits);
        if (l->dead || l->refused)
            return false;
        if (got & LINK_CANCEL)
            call_cancel(c);
        if (now_us() >= c->limits.until_us) {
            link_die(c->a, "it took only a part of a message before the call's time was over");
            return false;
        }
        if ((got & LINK_WRITABLE) && !l->blocked)
            return true;
    }
}

/* Between the pieces of a large message all else goes on: confirms, heartbeats, deadlines. */
static bool send_in_pieces(struct call *c, const struct parcel *p)
{
    struct amqp *a = c->a;
    struct link *l = &a->link;
    size_t piece = l->frame_max - FRAME_EXTRA;
    amqp_basic_publish_t method = {
        .exchange = p->exchange, .routing_key = p->key, .mandatory = a->settings.mandatory};
    amqp_frame_t header = {.frame_type = AMQP_FRAME_HEADER, .channel = CHANNEL};
    header.payload.properties.class_id = AMQP_BASIC_CLASS;
    header.payload.properties.body_size = p->body.len;
    header.payload.properties.decoded = (void *)(uintptr_t)&p->properties;
    if (!link_send(a, CHANNEL, AMQP_BASIC_PUBLISH_METHOD, &method) ||
        !sent(a, amqp_send_frame(l->c, &header)))
        return false;
    for (size_t at = 0; at < p->body.len; at += piece) {
        amqp_frame_t body = {.frame_type = AMQP_FRAME_BODY, .channel = CHANNEL};
        body.payload.body_fragment = bytes_of((const char *)p->body.bytes + at,
                                              p->body.len - at < piece ? p->body.len - at : piece);
        if (!may_go_on(c) || !sent(a, amqp_send_frame(l->c, &body)))
            return false;
        l->spoke_us = now_us();
    }
    return true;
}

bool parcel_send(struct call *c, const struct parcel *p)
{
    struct amqp *a = c->a;
    /*
     * The library announces more after a body that fills its last frame, and none comes: the kernel
     * would hold it back for 200 ms.
     */
    if (p->body.len >= a->link.frame_max - FRAME_EXTRA)
        return send_in_pieces(c, p);
    return sent(a, amqp_basic_publish(a->link.c, CHANNEL, p->exchange, p->key,
                                      a->settings.mandatory, 0, &p->properties, p->body));
}
