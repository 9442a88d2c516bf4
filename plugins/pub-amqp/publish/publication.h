/* SPDX-License-Identifier: Apache-2.0 */
/* publication.h - an outbox message as one of AMQP: where it goes, and with which properties. */
#pragma once

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
    amqp_field_value_t more_keys[2]; /* of the headers CC and BCC */
    char exchange_text[SHORT_MAX + 1];
    char key_text[SHORT_MAX + 1];
};

/* Sets the exchange and the key only. OUTBOX_E_CONFIG: there is no such address, *err says why. */
int publication_address(const struct settings *s, const struct outbox_message *msg,
                        struct publication *ret, struct outbox_err *err);
/*
 * Sets everything. `headers` has room for all of the message's and is used by *ret. On
 * OUTBOX_E_CONFIG the message can never be sent, *err says why.
 */
int publication_pack(const struct settings *s, size_t frame_max, const struct outbox_message *msg,
                     amqp_table_entry_t *headers, struct publication *ret, struct outbox_err *err);
