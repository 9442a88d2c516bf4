/* SPDX-License-Identifier: Apache-2.0 */
#include "relay/worker.h"

void dead_letter_queue(struct worker *w, uint32_t index, size_t publisher, uint32_t flags,
                       struct outbox_str reason)
{
    struct outbox_settle settle = {
        .action = OUTBOX_SETTLE_FAILED, .flags = flags | OUTBOX_SETTLE_REASON, .reason = reason};
    struct publisher_state *state =
        publisher == ROUTE_NONE ? NULL : &w->relay->publishers[publisher];
    settle_queue(w, index, publisher, &settle);
    batch_log_queued(&w->slot->batch, w->relay->log, OUTBOX_LOG_WARNING, "message failed",
                     state ? state->config->name : NULL);
}
