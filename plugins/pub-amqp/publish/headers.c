/* SPDX-License-Identifier: Apache-2.0 */
#include "publish/headers.h"

#include "publish/field.h"

#include <outbox/helpers.h>

#include <string.h>
#include <strings.h>

int headers_set_text(struct outbox_str from, const char *what, amqp_bytes_t *ret,
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

/* ---- CC and BCC ---- */

/* Only where a name could do harm is it looked for: of the default exchange it is a queue's. */
static int check_key(const struct settings *s, const char *header, const char *key, size_t n,
                     struct outbox_err *err)
{
    char text[SHORT_MAX + 1];
    const char *fault = short_fault(key, n);
    if (fault)
        return outbox_fail(err, OUTBOX_E_CONFIG, "header %s, for RabbitMQ one more routing key, %s",
                           header, fault);
    memcpy(text, key, n);
    text[n] = '\0';
    if (s->queue_mode && !outbox_template_allows(s->host, s->cfg, "allow_queues", text))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "header %s, for RabbitMQ the name of one more queue, is not among "
                           "allow_queues: `%.200s`",
                           header, text);
    if (s->limits_keys && !outbox_template_allows(s->host, s->cfg, "allow_routing_keys", text))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "header %s, for RabbitMQ one more routing key, is not among "
                           "allow_routing_keys: `%.200s`",
                           header, text);
    return OUTBOX_OK;
}

/*
 * RabbitMQ takes the headers CC and BCC for lists of more routing keys, and closes the channel when
 * they are anything else, so what is no list becomes a list of one.
 */
static int set_more_keys(const struct settings *s, const struct outbox_header *h,
                         amqp_field_value_t *item, amqp_field_value_t *field,
                         struct outbox_err *err)
{
    int r = OUTBOX_OK;
    if (field->kind != AMQP_FIELD_KIND_ARRAY) {
        if (field->kind == AMQP_FIELD_KIND_UTF8)
            *item = *field;
        else
            field_set_text(h->value, item);
        field->kind = AMQP_FIELD_KIND_ARRAY;
        field->value.array = (amqp_array_t){1, item};
    }
    for (int i = 0; r == 0 && i < field->value.array.num_entries; i++) {
        const amqp_field_value_t *key = &field->value.array.entries[i];
        r = key->kind == AMQP_FIELD_KIND_UTF8
                ? check_key(s, h->name.p, key->value.bytes.bytes, key->value.bytes.len, err)
                : outbox_fail(
                      err, OUTBOX_E_CONFIG,
                      "header %s, for RabbitMQ a list of more routing keys, holds something "
                      "that is no text",
                      h->name.p);
    }
    return r;
}

/* ---- the table ---- */

static bool is_json(const struct settings *s, const char *name)
{
    return s->json_headers &&
           (s->all_headers || outbox_template_allows(s->host, s->cfg, "json_headers", name));
}

static int set_header(const struct settings *s, const struct outbox_header *h,
                      const struct publication_room *room, amqp_table_entry_t *entry,
                      struct publication *ret, struct outbox_err *err)
{
    int r = headers_set_text(h->name, "the name of a header", &entry->key, err);
    if (r < 0)
        return r;
    if (is_json(s, h->name.p))
        r = field_read_json(h->value, room->arena, &entry->value, err);
    else
        field_set_text(h->value, &entry->value);
    int which = strcmp(h->name.p, "CC") == 0 ? 0 : strcmp(h->name.p, "BCC") == 0 ? 1 : -1;
    if (r == 0 && which >= 0)
        r = set_more_keys(s, h, &ret->more_keys[which], &entry->value, err);
    return r;
}

int headers_set(const struct settings *s, const struct outbox_message *msg,
                const struct publication_room *room, struct publication *ret,
                struct outbox_err *err)
{
    amqp_basic_properties_t *props = &ret->properties;
    int r = OUTBOX_OK, n = 0;
    for (uint64_t i = 0; r == 0 && i < msg->n_headers; i++) {
        const struct outbox_header *h = &msg->headers[i];
        if (is_content_type(h->name) && !(props->_flags & AMQP_BASIC_CONTENT_TYPE_FLAG)) {
            props->_flags |= AMQP_BASIC_CONTENT_TYPE_FLAG;
            r = headers_set_text(h->value, "header content-type", &props->content_type, err);
        } else if (s->properties.n == 0 || !properties_take(&s->properties, h->name)) {
            r = set_header(s, h, room, &room->headers[n++], ret, err);
        }
    }
    if (n > 0)
        props->_flags |= AMQP_BASIC_HEADERS_FLAG;
    props->headers = (amqp_table_t){n, room->headers};
    return r;
}
