/* SPDX-License-Identifier: Apache-2.0 */
/* outcome.h - what a publisher's outcome makes of a message, and what a database does that refuses
 * it. */
#pragma once

#include "plugin/delivery.h"

#include <outbox/plugin.h>

#include <stdbool.h>

/* What of the configuration and of the store decides what becomes of a message. */
struct outcome_terms {
    const struct delivery *delivery;
    bool delete_done;  /* retention = 0 */
    int64_t pause_ms;  /* for how long an unavailable publisher is suspended */
    bool store_delays; /* the store can keep a message back for a time */
};

/*
 * Fills *ret (but for what batch_queue sets) and returns true, or false when the message is to be
 * released as it is. The action is OUTBOX_SETTLE_FAILED, a dead letter, for what was rejected and
 * for the last of max_retries attempts. The reason is borrowed from the outcome.
 */
bool outcome_settle(const struct outcome_terms *terms, const struct outbox_message *msg,
                    const struct outbox_outcome *outcome, struct outbox_settle *ret);

/* Adds what becomes of the message if the database refuses `settle` for it: a charged attempt. */
void outcome_add_second(const struct delivery *terms, const struct outbox_message *msg,
                        struct outbox_settle *settle);
