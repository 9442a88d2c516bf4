/* SPDX-License-Identifier: Apache-2.0 */
/* headers.h - the table of headers, with what of it RabbitMQ takes for more routing keys. */
#pragma once

#include "publish/publication.h"

/* A property of at most 255 bytes; `what` is for the error, OUTBOX_E_CONFIG. */
int headers_set_text(struct outbox_str from, const char *what, amqp_bytes_t *ret,
                     struct outbox_err *err);
/*
 * The first content-type becomes the property of that name, those that properties take are left
 * out, and all else goes into the table. Errors as those of publication_pack.
 */
int headers_set(const struct settings *s, const struct outbox_message *msg,
                const struct publication_room *room, struct publication *ret,
                struct outbox_err *err);
