/* SPDX-License-Identifier: Apache-2.0 */
/* property.h - the option `properties.NAME`: a property of AMQP, made of the message. */
#pragma once

#include "common/arena.h"
#include "connection/rabbitmq_compat.h"
#include "publish/template.h"

#include <stdbool.h>

#define PROPERTY_KINDS 9

struct property_kind;

struct property {
    const struct property_kind *kind;
    struct outbox_template value;
};

struct properties {
    struct property list[PROPERTY_KINDS];
    size_t n;
    bool has_type; /* one of them is the property `type` */
};

/* Reads all of the section. OUTBOX_E_CONFIG: there is no such property, or its value is wrong. */
int properties_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                    struct properties *ret, struct outbox_err *err);

/*
 * Sets those that the message has: what is made of a header that it lacks, or becomes empty, stays
 * unset. Borrows from the message and the arena. OUTBOX_E_CONFIG: the value is none for it.
 */
int properties_set(const struct properties *all, const struct outbox_message *msg,
                   struct arena *arena, amqp_basic_properties_t *ret, struct outbox_err *err);

/* Does this header become a property as it is? */
bool properties_take(const struct properties *all, struct outbox_str header);

/* The bytes that those take that are set, without `type` and content-type. */
size_t properties_size(const amqp_basic_properties_t *props);
