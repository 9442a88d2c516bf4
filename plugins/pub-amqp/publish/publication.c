/* SPDX-License-Identifier: Apache-2.0 */
#include "publish/publication.h"

#include <outbox/helpers.h>

#include <string.h>
#include <strings.h>

/* Values of the property delivery-mode. */
#define TRANSIENT 1
#define PERSISTENT 2

/* ---- where it goes ---- */

static bool is_allowed(const struct settings *s, const char *name)
{
    return outbox_template_allows(s->host, s->cfg,
                                  s->queue_mode ? "allow_queues" : "allow_exchanges", name);
}

/* A name that came from the message leads only to where the operator allowed it. */
static int check_allowed(const struct settings *s, const struct outbox_template *t,
                         const char *name, struct outbox_err *err)
{
    if (t->fixed)
        return OUTBOX_OK;
    if (name[0] == '\0')
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s is empty for this message", t->option);
    return is_allowed(s, name)
               ? OUTBOX_OK
               : outbox_fail(err, OUTBOX_E_CONFIG, "%s `%.200s` is not among allow_%ss", t->option,
                             name, t->option);
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
    ret->exchange = bytes_of(ret->exchange_text, n);
    ret->key = bytes_of(ret->key_text, n_key);
    return r;
}

/* ---- its properties ---- */

/* A property of at most 255 bytes; `what` is for the error. */
static int set_text(struct outbox_str from, const char *what, amqp_bytes_t *ret,
                    struct outbox_err *err)
{
    const char *fault = short_text_fault(from.p, (size_t)from.n);
    *ret = bytes_of(from.p, (size_t)from.n);
    return fault ? outbox_fail(err, OUTBOX_E_CONFIG, "%s %s", what, fault) : OUTBOX_OK;
}

static bool is_content_type(struct outbox_str name)
{
    return name.n == 12 && strncasecmp(name.p, "content-type", 12) == 0;
}

/*
 * RabbitMQ takes the headers CC and BCC for lists of more routing keys, and closes the channel when
 * they are text. With the default exchange a routing key is the name of a queue.
 */
static int set_more_keys(const struct settings *s, const struct outbox_header *h,
                         amqp_field_value_t *item, amqp_field_value_t *ret, struct outbox_err *err)
{
    const char *fault = short_fault(h->value.p, (size_t)h->value.n);
    if (fault)
        return outbox_fail(err, OUTBOX_E_CONFIG, "header %s, for RabbitMQ one more routing key, %s",
                           h->name.p, fault);
    if (s->queue_mode && !is_allowed(s, h->value.p))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "header %s, for RabbitMQ the name of one more queue, is not among "
                           "allow_queues: `%.200s`",
                           h->name.p, h->value.p);
    item->kind = AMQP_FIELD_KIND_UTF8;
    item->value.bytes = bytes_of(h->value.p, (size_t)h->value.n);
    ret->kind = AMQP_FIELD_KIND_ARRAY;
    ret->value.array = (amqp_array_t){1, item};
    return OUTBOX_OK;
}

/* The first content-type becomes the property of that name, all else goes into the table. */
static int set_headers(const struct settings *s, const struct outbox_message *msg,
                       amqp_table_entry_t *headers, struct publication *ret, struct outbox_err *err)
{
    amqp_basic_properties_t *props = &ret->properties;
    int r = OUTBOX_OK, n = 0;
    for (uint64_t i = 0; r == 0 && i < msg->n_headers; i++) {
        const struct outbox_header *h = &msg->headers[i];
        if (is_content_type(h->name) && !(props->_flags & AMQP_BASIC_CONTENT_TYPE_FLAG)) {
            props->_flags |= AMQP_BASIC_CONTENT_TYPE_FLAG;
            r = set_text(h->value, "header content-type", &props->content_type, err);
            continue;
        }
        r = set_text(h->name, "the name of a header", &headers[n].key, err);
        headers[n].value.kind = AMQP_FIELD_KIND_UTF8;
        headers[n].value.value.bytes = bytes_of(h->value.p, (size_t)h->value.n);
        int which = strcmp(h->name.p, "CC") == 0 ? 0 : strcmp(h->name.p, "BCC") == 0 ? 1 : -1;
        if (r == 0 && which >= 0 && ret->more_keys[which].kind == 0) /* the first one counts */
            r = set_more_keys(s, h, &ret->more_keys[which], &headers[n].value, err);
        n++;
    }
    if (n > 0)
        props->_flags |= AMQP_BASIC_HEADERS_FLAG;
    props->headers = (amqp_table_t){n, headers};
    return r;
}

/*
 * The size of a content header frame's payload. AMQP 0-9-1, section 4.2.6.1: class (2 bytes),
 * weight (2), body size (8), property flags (2), properties. A short string has 1 byte before it, a
 * long string, a list and a table have 4; a table's entry is a short string, a type (1) and a
 * value, a list's a type and a value (4.2.5).
 */
static size_t header_payload_size(const amqp_basic_properties_t *props)
{
    size_t timestamp = 8, delivery_mode = 1;
    size_t n = 2 + 2 + 8 + 2 + timestamp + delivery_mode;
    n += 1 + props->message_id.len + 1 + props->type.len;
    if (props->_flags & AMQP_BASIC_CONTENT_TYPE_FLAG)
        n += 1 + props->content_type.len;
    if (props->_flags & AMQP_BASIC_HEADERS_FLAG)
        n += 4;
    for (int i = 0; i < props->headers.num_entries; i++) {
        const amqp_table_entry_t *entry = &props->headers.entries[i];
        n += 1 + entry->key.len + 1 + 4;
        n += entry->value.kind == AMQP_FIELD_KIND_ARRAY
                 ? 1 + 4 + entry->value.value.array.entries[0].value.bytes.len
                 : entry->value.value.bytes.len;
    }
    return n;
}

int publication_pack(const struct settings *s, size_t frame_max, const struct outbox_message *msg,
                     amqp_table_entry_t *headers, struct publication *ret, struct outbox_err *err)
{
    amqp_basic_properties_t *props = &ret->properties;
    memset(props, 0, sizeof *props);
    memset(ret->more_keys, 0, sizeof ret->more_keys);
    props->_flags = AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_TYPE_FLAG |
                    AMQP_BASIC_DELIVERY_MODE_FLAG;
    props->timestamp = msg->created_us > 0 ? (uint64_t)msg->created_us / 1000000 : 0;
    props->delivery_mode = s->persistent ? PERSISTENT : TRANSIENT;
    ret->body = bytes_of(msg->payload.p, msg->payload.p ? (size_t)msg->payload.n : 0);
    int r = publication_address(s, msg, ret, err);
    if (r == 0)
        r = set_text(msg->id, "id", &props->message_id, err);
    if (r == 0)
        r = set_text(msg->topic, "topic", &props->type, err);
    if (r == 0)
        r = set_headers(s, msg, headers, ret, err);
    if (r < 0)
        return r;
    size_t size = header_payload_size(props), room = frame_max - FRAME_OVERHEAD;
    if (size <= room)
        return OUTBOX_OK;
    return outbox_fail(err, OUTBOX_E_CONFIG,
                       "the headers take %zu bytes, and the broker has room for %zu", size, room);
}
