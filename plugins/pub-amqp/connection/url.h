/* SPDX-License-Identifier: Apache-2.0 */
/*
 * url.h - the option `url`: amqp://user:password@host:port,host:port/vhost. It may hold a password,
 * so no message about it shows a part of it.
 */
#pragma once

#include <outbox/url.h>

#include <stdbool.h>

struct url {
    bool tls; /* amqps */
    char vhost[OUTBOX_URL_TEXT];
    struct outbox_url parts; /* at least one host; of its path, see vhost */
};

/* OUTBOX_OK, or OUTBOX_E_CONFIG with a text that begins with `url:`; then *ret is empty. */
int url_parse(const char *text, struct url *ret, struct outbox_err *err);
void url_clear(struct url *url); /* the password, too */
