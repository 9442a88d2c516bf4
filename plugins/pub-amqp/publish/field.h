/* SPDX-License-Identifier: Apache-2.0 */
/* field.h - the value of a header as a field of AMQP: text, or what its JSON says. */
#pragma once

#include "common/arena.h"
#include "common/json.h"
#include "connection/rabbitmq_compat.h"

/* So many lists and objects within each other are read; deeper ones stay text. */
#define FIELD_DEPTH 8

static inline void field_set_text(struct outbox_str text, amqp_field_value_t *ret)
{
    ret->kind = AMQP_FIELD_KIND_UTF8;
    ret->value.bytes = bytes_of(text.p, (size_t)text.n);
}

/*
 * A JSON number becomes a long long or a double, `true` and `false` a boolean, `null` void, a list
 * an array, an object a table, a string in quotes its text. What is no JSON stays text, and so does
 * a number that fits neither. *ret borrows from `text`, behind which there is a NUL, and from the
 * arena. OUTBOX_E_CONFIG: a name in an object is none for AMQP; OUTBOX_E_RETRY: no memory.
 */
int field_read_json(struct outbox_str text, struct arena *arena, amqp_field_value_t *ret,
                    struct outbox_err *err);

/* The bytes that it takes in a table or a list: AMQP 0-9-1, section 4.2.5. */
size_t field_size(const amqp_field_value_t *field);
size_t field_table_size(const amqp_table_t *table);
