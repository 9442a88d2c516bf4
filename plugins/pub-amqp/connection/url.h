/* SPDX-License-Identifier: Apache-2.0 */
/*
 * url.h - the option `url`: amqp://user:password@host:port,host:port/vhost. It may hold a password,
 * so no message about it shows a part of it.
 */
#pragma once

#include <outbox/abi.h>

#include <stdbool.h>

#define URL_HOSTS_MAX 32

struct url_host {
    char *name; /* without the brackets of an IPv6 address */
    uint16_t port;
    char *peer; /* name:port, for messages */
};

struct url {
    bool tls;       /* amqps */
    char *user;     /* NULL: none given */
    char *password; /* NULL: none given */
    char *vhost;
    struct url_host *hosts;
    size_t n_hosts; /* at least 1 */
};

/* OUTBOX_OK, or OUTBOX_E_CONFIG with a text that begins with `url:`; then *ret is empty. */
int url_parse(const char *text, struct url *ret, struct outbox_err *err);
void url_free(struct url *url); /* zeroes the password; also an empty one */
