/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_forwarder.h - ends TLS with a certificate of the test's choice and passes on to a port of
 * this machine, one connection after the other, in a thread of its own.
 */
#pragma once

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct forwarder {
    uint16_t port;          /* of its own */
    uint16_t to_port;       /* where to */
    _Atomic bool deaf;      /* takes no more from the client */
    _Atomic int handshakes; /* that went well */

    int listen_fd, quit_fd;
    SSL_CTX *ctx;
    pthread_t thread;
};

/* The certificate is NAME.pem with NAME.key in OUTBOX_TEST_TLS. */
void forwarder_start(struct forwarder *f, const char *name, uint16_t to_port);
void forwarder_stop(struct forwarder *f);
