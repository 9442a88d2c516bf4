/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PUB_AMQP_CONNECTION_LOGIN_H
#define PUB_AMQP_CONNECTION_LOGIN_H

#include "connection/attempt.h"

/* AMQP's handshake on a connected socket. OUTBOX_OK, or the attempt's code. */
int login(struct attempt *a);

#endif
