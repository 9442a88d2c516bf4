/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dead_letter.h - the one way in which a message becomes `failed`. It goes this way because
 *   - its row cannot be read or is too large (worker.c: route),
 *   - no route takes it, with `unrouted = fail` (worker.c: route),
 *   - its publisher rejected it, or this was the last of max_retries attempts (policy/outcome.c),
 *   - it killed its relay at the last of these attempts (worker.c: fail_poison_message).
 */
#ifndef CORE_RELAY_DEAD_LETTER_H
#define CORE_RELAY_DEAD_LETTER_H

#include "relay/worker.h"

/* Queues, counts and logs it. `flags` are those of outbox_settle; `publisher` is ROUTE_NONE when
 * none saw the message. The reason is borrowed as by batch_queue. */
void dead_letter_queue(struct worker *w, uint32_t index, size_t publisher, uint32_t flags,
                       struct outbox_str reason);

#endif
