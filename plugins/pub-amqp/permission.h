/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "publisher.h"

/*
 * May this user publish to the fixed destination? OUTBOX_E_CONFIG: no. A broker that cannot tell
 * counts as one that says yes. Leaves the channel closed.
 */
int permission_check(struct amqp *a, const struct limits *limits, struct outbox_err *err);
