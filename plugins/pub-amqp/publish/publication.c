/* SPDX-License-Identifier: Apache-2.0 */
#include "publish/publication.h"

#include "publish/field.h"
#include "publish/headers.h"

#include <outbox/helpers.h>

#include <string.h>

/* Values of the property delivery-mode. */
#define TRANSIENT 1
#define PERSISTENT 2

/* ---- where it goes ---- */

/* A name that came from the message leads only to where the operator allowed it. */
static int check_allowed(const struct settings *s, const struct outbox_template *t,
                         const char *name, struct outbox_err *err)
{
    if (t->fixed)
        return OUTBOX_OK;
    if (name[0] == '\0')
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s is empty for this message", t->option);
    return outbox_template_allows(s->host, s->cfg,
                                  s->queue_mode ? "allow_queues" : "allow_exchanges", name)
               ? OUTBOX_OK
               : outbox_fail(err, OUTBOX_E_CONFIG, "%s `%.200s` is not among allow_%ss", t->option,
                             name, t->option);
}

static int check_key(const struct settings *s, const char *key, struct outbox_err *err)
{
    if (!s->limits_keys || s->key.fixed ||
        outbox_template_allows(s->host, s->cfg, "allow_routing_keys", key))
        return OUTBOX_OK;
    return outbox_fail(err, OUTBOX_E_CONFIG, "routing_key `%.200s` is not among allow_routing_keys",
                       key);
}

int publication_address(const struct settings *s, const struct outbox_message *msg,
                        struct publication *ret, struct outbox_err *err)
{
    size_t n = 0, n_key = 0;
    int r = template_render(&s->exchange, msg, ret->exchange_text, &n, err);
    if (r == 0)
        r = template_render(&s->key, msg, ret->key_text, &n_key, err);
    if (r == 0)
        r = check_allowed(s, settings_destination(s),
                          s->queue_mode ? ret->key_text : ret->exchange_text, err);
    if (r == 0)
        r = check_key(s, ret->key_text, err);
    ret->exchange = bytes_of(ret->exchange_text, n);
    ret->key = bytes_of(ret->key_text, n_key);
    return r;
}

/* ---- its properties ---- */

/*
 * The size of a content header frame's payload. AMQP 0-9-1, section 4.2.6.1: class (2 bytes),
 * weight (2), body size (8), property flags (2), properties. A short string has 1 byte before it.
 */
static size_t header_payload_size(const amqp_basic_properties_t *props, bool has_more)
{
    size_t timestamp = 8, delivery_mode = 1;
    size_t n = 2 + 2 + 8 + 2 + timestamp + delivery_mode;
    n += 1 + props->message_id.len;
    if (props->_flags & AMQP_BASIC_TYPE_FLAG)
        n += 1 + props->type.len;
    if (props->_flags & AMQP_BASIC_CONTENT_TYPE_FLAG)
        n += 1 + props->content_type.len;
    if (has_more)
        n += properties_size(props);
    if (props->_flags & AMQP_BASIC_HEADERS_FLAG)
        n += field_table_size(&props->headers);
    return n;
}

static int set_properties(const struct settings *s, const struct outbox_message *msg,
                          const struct publication_room *room, struct publication *ret,
                          struct outbox_err *err)
{
    amqp_basic_properties_t *props = &ret->properties;
    props->_flags =
        AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG;
    props->timestamp = msg->created_us > 0 ? (uint64_t)msg->created_us / 1000000 : 0;
    props->delivery_mode = s->persistent ? PERSISTENT : TRANSIENT;
    int r = headers_set_text(msg->id, "id", &props->message_id, err);
    if (r == 0 && !s->properties.has_type) {
        props->_flags |= AMQP_BASIC_TYPE_FLAG;
        r = headers_set_text(msg->topic, "topic", &props->type, err);
    }
    if (r == 0)
        r = headers_set(s, msg, room, ret, err);
    if (r == 0 && s->properties.n > 0)
        r = properties_set(&s->properties, msg, room->arena, props, err);
    return r;
}

int publication_pack(const struct settings *s, size_t frame_max, const struct outbox_message *msg,
                     const struct publication_room *room, struct publication *ret,
                     struct outbox_err *err)
{
    memset(&ret->properties, 0, sizeof ret->properties);
    ret->body = bytes_of(msg->payload.p, msg->payload.p ? (size_t)msg->payload.n : 0);
    int r = publication_address(s, msg, ret, err);
    if (r == 0)
        r = set_properties(s, msg, room, ret, err);
    if (r < 0)
        return r;
    size_t size = header_payload_size(&ret->properties, s->properties.n > 0),
           most = frame_max - FRAME_OVERHEAD;
    if (size <= most)
        return OUTBOX_OK;
    return outbox_fail(err, OUTBOX_E_CONFIG,
                       "the headers take %zu bytes, and the broker has room for %zu", size, most);
}
