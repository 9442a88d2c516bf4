/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint.h - where to connect to, as whom and how. Shared by an instance and by attempts to
 * connect that may outlive it; constant once made.
 */
#ifndef PUB_AMQP_CONNECTION_ENDPOINT_H
#define PUB_AMQP_CONNECTION_ENDPOINT_H

#include "connection/url.h"

#include <stdatomic.h>

struct target {
    _Atomic int refs;
    struct url url;
    char *user;
    char *password;
    char *ca_file;   /* NULL: the system's authorities */
    char *cert_file; /* NULL: none */
    char *key_file;
    bool verify;
    int heartbeat_s;      /* 0: none */
    char *client_version; /* of the plugin, for the broker's lists */
    char *client_name;
};

struct target *target_ref(struct target *target);
void target_unref(struct target *target); /* NULL is allowed */

/* tls.c: are the files there, readable, and do they fit? OUTBOX_E_CONFIG names the option. */
int tls_check(const struct target *target, struct outbox_err *err);

#endif
