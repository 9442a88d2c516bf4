/* SPDX-License-Identifier: Apache-2.0 */
/* idle.h - a worker without messages: it serves its publishers, and waits. */
#ifndef CORE_RELAY_IDLE_H
#define CORE_RELAY_IDLE_H

#include "relay/worker.h"

/* Until there may be messages: at due_us (monotonic; INT64_MAX: unknown), the next poll or a signal
 * of the store; or until a publisher is to be served again. */
void idle_wait(struct worker *w, int64_t due_us);

#endif
