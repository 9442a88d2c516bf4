/* SPDX-License-Identifier: Apache-2.0 */
/*
 * generation.h - a relay that runs, with its configuration, and the thread that waits for its end
 * and closes what is open: that may block in a plugin, and must not block who takes signals.
 */
#pragma once

#include "config/config.h"
#include "relay/relay.h"

#include <pthread.h>

/* The thread has its address: do not move it. */
struct generation {
    struct relay *relay;
    const struct config *config;
    struct config *own; /* the same, if it is to be freed with this */
    struct generation *next;
    struct relay_report report; /* see generation_report */
    bool joined;
    int ended_fd; /* readable: all has ended and is closed */
    pthread_t thread;
};

/* Starts an opened relay, which it takes like `own`; also when it fails: OUTBOX_E_RETRY, *ret NULL.
 */
int generation_start(struct relay *relay, const struct config *config, struct config *own,
                     struct generation **ret, struct outbox_err *err);
/* Has it ended? NULL has. */
bool generation_has_ended(const struct generation *g);
/* When it has ended: what it did, and its end. */
const struct relay_report *generation_report(struct generation *g);
/* Adds what one did to what others did. */
void generation_add(struct relay_report *to, const struct relay_report *report);
void generation_free(struct generation *g);
