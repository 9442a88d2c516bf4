/* SPDX-License-Identifier: Apache-2.0 */
/* settle.h - what became of messages is queued, and made durable. */
#ifndef CORE_RELAY_SETTLE_H
#define CORE_RELAY_SETTLE_H

#include "relay/worker.h"

/* Queues, counts and logs what a publisher's outcome makes of a message. `pause_ms`: for how long
 * the publisher is suspended. False: nothing; the message is to be released as it is. */
bool settle_queue_outcome(struct worker *w, uint32_t index, size_t publisher,
                          const struct outbox_outcome *outcome, int64_t pause_ms);

/* Settles all that is queued, until it is durable or the claim is lost. */
enum batch_state settle_batch(struct worker *w);
/* The same where the store settles a batch in parts; else the queue waits for the whole batch. */
enum batch_state settle_part(struct worker *w);
bool settle_is_partial(const struct worker *w);

#endif
