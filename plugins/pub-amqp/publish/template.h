/* SPDX-License-Identifier: Apache-2.0 */
/* template.h - `exchange`, `queue` and `routing_key`: text with {topic}, {key}, {header.NAME}. */
#pragma once

#include <outbox/template.h>

/* What AMQP has room for in a name. */
#define SHORT_MAX 255

/* outbox_template_parse, for what AMQP takes: `option` and `text` are borrowed. */
int template_parse(const char *option, const char *text, struct outbox_template *ret,
                   struct outbox_err *err);

/*
 * Writes the text for a message: at most SHORT_MAX bytes of UTF-8 without control characters.
 * OUTBOX_E_CONFIG with the reason otherwise, and when the message lacks a header.
 */
int template_render(const struct outbox_template *t, const struct outbox_message *msg,
                    char out[SHORT_MAX + 1], size_t *ret_n, struct outbox_err *err);

/* What is wrong with a name of AMQP ("is longer than 255 bytes"), or NULL. */
const char *short_fault(const char *p, size_t n);
/* The same for text in a property, which may hold control characters, but no NUL. */
const char *short_text_fault(const char *p, size_t n);
