/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <outbox/publisher.h>

/* The operation `keepalive`, see outbox/publisher.h: heartbeats and alarms while idle. */
int keepalive_serve(void *instance, struct outbox_keepalive *ret, struct outbox_err *err);
