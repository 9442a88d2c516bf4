/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "connection/attempt.h"

/* AMQP's handshake on a connected socket. OUTBOX_OK, or the attempt's code. */
int login(struct attempt *a);
