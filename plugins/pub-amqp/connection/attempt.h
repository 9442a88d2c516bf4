/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt.h - one attempt to connect to one host and to log in: what it needs and what became of
 * it. It runs in a thread of its own (timed_call.h), because name resolution has no deadline, so it
 * may outlive the instance. One thread has it at a time, so it needs no lock.
 */
#pragma once

#include "connection/endpoint.h"
#include "connection/rabbitmq_compat.h"

struct attempt {
    struct endpoint *endpoint; /* a reference */
    char *password;            /* NULL once it was used */
    size_t host;
    int64_t until_us;
    char identity[65]; /* the common name of the certificate, or "-" */

    /* Code 0: it succeeded; OUTBOX_E_CONFIG: a person must act; OUTBOX_E_RETRY: try again. */
    struct outbox_err err; /* without secrets */
    bool login_refused;    /* the other hosts would refuse it, too */
    bool turned_away;      /* the broker answered, and closed the connection */

    amqp_connection_state_t state; /* logged in, if it succeeded */
    int heartbeat_s;               /* as agreed with the broker; the library sends none */
    char broker[96];               /* the broker's product and version */
};

/* NULL: no memory. Copies the password. */
struct attempt *attempt_new(struct endpoint *endpoint, const char *password, size_t host,
                            int64_t until_us);
void attempt_free(void *attempt); /* with its connection; NULL is allowed */

struct timeval attempt_time_left(const struct attempt *a);
