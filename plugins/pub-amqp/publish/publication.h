/* SPDX-License-Identifier: Apache-2.0 */
/* publication.h - an outbox message as one of AMQP: where it goes, and with which properties. */
#pragma once

#include "common/arena.h"
#include "connection/rabbitmq_compat.h"
#include "settings.h"

/*
 * AMQP 0-9-1, section 4.2.3, general frame format: type (1 byte), channel (2) and size (4) stand
 * before the payload, the frame-end octet (1) behind it.
 */
#define FRAME_OVERHEAD 8

struct publication {
    amqp_bytes_t exchange, key, body; /* borrowed */
    amqp_basic_properties_t properties;
    amqp_field_value_t more_keys[2]; /* of the headers CC and BCC that are no lists */
    char exchange_text[SHORT_MAX + 1];
    char key_text[SHORT_MAX + 1];
};

/* What the properties of a publication may use, until the next one is made. */
struct publication_room {
    amqp_table_entry_t *headers; /* room for all headers of the message */
    struct arena *arena;         /* for what is not just as in the message */
};

/* Sets the exchange and the key only. OUTBOX_E_CONFIG: there is no such address, *err says why. */
int publication_address(const struct settings *s, const struct outbox_message *msg,
                        struct publication *ret, struct outbox_err *err);
/*
 * Sets everything. On OUTBOX_E_CONFIG the message can never be sent, *err says why;
 * OUTBOX_E_RETRY: there is no memory.
 */
int publication_pack(const struct settings *s, size_t frame_max, const struct outbox_message *msg,
                     const struct publication_room *room, struct publication *ret,
                     struct outbox_err *err);
