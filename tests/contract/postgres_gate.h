/* SPDX-License-Identifier: Apache-2.0 */
/* postgres_gate.h - who waits at the gate of notify = on, and who listens. */
#pragma once

#include "postgres_rig.h"

#include <pthread.h>
#include <stdatomic.h>

#define INSERT "INSERT INTO " T " (topic) VALUES ('t')"

/* Of the lock in pg_locks by which a sleeping relay shuts the gate. */
#define GATE_IS_SHUT                                                                         \
    "locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted AND classid = 1869968482 " \
    "AND objid = '" T "'::regclass"

/* Somebody who listens and holds nothing; PQfinish it. */
PGconn *a_listener(void);
/* How often the table was notified of since the last time. */
int notifications(PGconn *listener);

/* OUTBOX_OK or OUTBOX_E_TIMEOUT. */
int wait_for(struct store *s, uint32_t ms);
/* Until it sleeps: the gate is shut, by it or by another. */
void fall_asleep(struct store *s);
void rest(struct store *s);
/* Claims and settles all there is; how many. */
int drain(struct store *s);

/* A wait in a thread of its own. */
struct waiter {
    struct store *s;
    pthread_t thread;
    atomic_bool returned;
    int r;
};
struct waiter *begin_to_wait(struct store *s);
void assert_waits(struct waiter *w);
/* Frees it. How long it still took, ms. */
int64_t await_waiter(struct waiter *w);

/* What follows an event that nobody may miss: claims after wait() returned, until this many rows
 * were seen. wait() may also end with its time, as long as it returns again. */
void assert_seen(struct store *s, int n, int64_t within_ms);
