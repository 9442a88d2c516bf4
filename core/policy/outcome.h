/* SPDX-License-Identifier: Apache-2.0 */
/* outcome.h - what a publisher's outcome makes of a message. */
#ifndef CORE_POLICY_OUTCOME_H
#define CORE_POLICY_OUTCOME_H

#include "plugin/delivery.h"

#include <outbox/plugin.h>

#include <stdbool.h>

/* Where the message is going, as far as it matters for what becomes of it. */
struct outcome_terms {
    const struct delivery *delivery;
    bool delete_done;  /* retention = 0 */
    int64_t pause_ms;  /* how long an unavailable publisher is left alone */
    bool store_delays; /* the store can keep a message back for a time */
};

/*
 * Fills *ret (but for its index) and returns true, or false when the message is to be given
 * back as it is. The reason is borrowed from the outcome.
 */
bool outcome_settle(const struct outcome_terms *terms, const struct outbox_message *msg,
                    const struct outbox_outcome *outcome, struct outbox_settle *ret);

#endif
