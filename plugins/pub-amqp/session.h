/* SPDX-License-Identifier: Apache-2.0 */
/* session.h - from nothing to a channel that takes messages, and back. */
#pragma once

#include "publisher.h"

/*
 * These return OUTBOX_OK, or a code with a reason in *err, which must not be NULL. OUTBOX_E_CONFIG
 * without a connection: the login is refused, or the broker is not trusted.
 */

/* Connects if need be, opens the channel, declares. */
int session_ready(struct amqp *a, const struct limits *limits, struct outbox_err *err);
/* Opens the channel, in confirm mode; closes it, if it is open. */
int session_open_channel(struct amqp *a, const struct limits *limits, struct outbox_err *err);
int session_close_channel(struct amqp *a, const struct limits *limits, struct outbox_err *err);
/* Sends a method on the channel and waits for its answer. `what` is for people: "cannot open a
 * channel". */
int session_request(struct amqp *a, amqp_method_number_t id, void *method,
                    amqp_method_number_t answer, const char *what, const struct limits *limits,
                    struct outbox_err *err);
/* Does the exchange or queue exist, and may this user publish there? For `check`. */
int session_check_destination(struct amqp *a, const struct limits *limits, struct outbox_err *err);

/* Takes in what the broker sent since the last call. Closes a connection that failed meanwhile. */
void session_catch_up(struct amqp *a);
/* Closes the connection; what is unconfirmed stays unknown. */
void session_close(struct amqp *a);
