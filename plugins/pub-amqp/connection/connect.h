/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connect.h - one attempt to connect to one host and to log in. It is made in a thread of its own
 * (bounded.h), because name resolution has no deadline; so it may outlive the instance.
 */
#ifndef PUB_AMQP_CONNECTION_CONNECT_H
#define PUB_AMQP_CONNECTION_CONNECT_H

#include "connection/endpoint.h"
#include "connection/rabbitmq_compat.h"

#define FRAME_MAX 131072

enum attempt_result {
    ATTEMPT_OK,
    ATTEMPT_FAILED,    /* try again, or another host */
    ATTEMPT_UNTRUSTED, /* a person must act: no trust between us and this host */
    ATTEMPT_UNWANTED,  /* a person must act: this host is full, or has no such virtual host */
    ATTEMPT_REFUSED    /* a person must act: the login was refused; other hosts would, too */
};

struct attempt {
    struct target *target; /* a reference */
    size_t host;
    int64_t until_us;

    enum attempt_result result;
    char why[320]; /* without secrets */
    amqp_connection_state_t
        c; /* logged in; its heartbeats are ours to send, the library has none */
    int heartbeat_s;
    char broker[96]; /* what it calls itself */
};

struct attempt *attempt_new(struct target *target, size_t host, int64_t until_us);
void attempt_free(void *attempt); /* with its connection; NULL is allowed */
/* The work itself; blocks. */
void attempt_run(void *attempt);

/* For files of the attempt: keeps the first reason. Returns -1. */
int attempt_fail(struct attempt *a, enum attempt_result result, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* What is left of its time. */
struct timeval attempt_left(const struct attempt *a);

/* tls.c: a socket that verifies; connects to the host. 0, or -1 with the reason. */
int tls_open(struct attempt *a);
/* What OpenSSL says about its last failure in this thread, or NULL; static. */
const char *tls_last_error(void);

/* tcp.c: likewise without TLS, trying every address of the host. */
int tcp_open(struct attempt *a);

/* login.c: the handshake of AMQP. */
int login(struct attempt *a);

#endif
