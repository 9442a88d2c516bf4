/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "publisher.h"

/*
 * Reads the login anew, and connects to one of the hosts, beginning with the last one. OUTBOX_OK;
 * otherwise *err says why. OUTBOX_E_CONFIG: a person must act. OUTBOX_E_FULL: the broker turned
 * this instance away while others of the section are connected.
 */
int sign_in(struct amqp *a, const struct limits *limits, struct outbox_err *err);
/* The error of a broker that turns this instance away: code, or OUTBOX_E_FULL with advice. */
int sign_in_turned_away(const struct amqp *a, int code, struct outbox_err *err);
