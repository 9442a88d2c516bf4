/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heartbeat.h - this relay's row in the store: how it is, for people and for other relays.
 *
 * The janitor writes it every few seconds; the workers do before the first batch, and before each
 * chunk after a death (poison.h). The row's lock is held while the row is written, so
 * that an older state never replaces a newer one.
 */
#pragma once

#include "relay/context.h"

/* What the janitor wrote last, and when. */
struct heartbeat {
    uint64_t accepted; /* for the rate */
    int64_t at_us;
    uint64_t hash;     /* of the state, to see whether something changed */
    int64_t warned_us; /* 0: never */
};

/* When the state has changed, or was written long ago. `clean`: the last time. */
int heartbeat_put(struct relay *relay, struct heartbeat *last, bool clean, struct outbox_err *err);
/* At once, because it must be there before something else is done. */
int heartbeat_record(struct relay *relay, struct outbox_err *err);
/* Once: looks for predecessors that ended uncleanly, takes over what they knew, and writes the row
 * for the first time. */
int heartbeat_load_predecessors(struct relay *relay, struct outbox_err *err);
/* Warns when another live relay routes differently. The janitor's. */
void heartbeat_compare(struct relay *relay, struct heartbeat *last, const struct outbox_call *call);
