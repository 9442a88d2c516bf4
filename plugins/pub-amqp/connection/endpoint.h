/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint.h - where to connect to, as which user and how. Shared by an instance and by attempts to
 * connect that may outlive it: constant once made, except for the atomic count of its references.
 * It holds no password, which exists only while somebody logs in.
 */
#pragma once

#include "connection/url.h"

#include <stdatomic.h>

struct endpoint {
    _Atomic int refs;
    struct url url;
    char *user;      /* "" with a certificate for it */
    bool external;   /* the certificate is the login: SASL EXTERNAL */
    char *ca_file;   /* NULL: the system's authorities */
    char *cert_file; /* NULL: none */
    char *key_file;
    bool verify;
    int heartbeat_s;   /* 0: none */
    char *client_name; /* for the broker's list of connections */
};

struct endpoint *endpoint_ref(struct endpoint *endpoint);
void endpoint_unref(struct endpoint *endpoint); /* NULL is allowed */

/* Zeroes and frees it; NULL is allowed. */
void secret_free(char *secret);
