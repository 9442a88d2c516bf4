/* SPDX-License-Identifier: Apache-2.0 */
/* worker.h - one worker: claim, route, publish, settle. Everything but `lease` is its thread's. */
#ifndef CORE_RELAY_WORKER_H
#define CORE_RELAY_WORKER_H

#include "plugin/publisher.h"
#include "plugin/store.h"
#include "relay/batch.h"
#include "relay/context.h"
#include "relay/lease.h"
#include "route/router.h"

struct worker {
    struct relay *relay;
    struct store store;
    struct publisher *publishers; /* its own instances, by the index of relay->publishers */
    struct router *router;
    struct lease lease; /* of the batch; the janitor reads it, too */
    struct batch batch;
    uint32_t limit;           /* of the next claim; shrinks when batches do not fit their time */
    size_t first_publisher;   /* goes first with the next batch */
    uint32_t record_failures; /* in a row, of record_in_flight */
};

void worker_init(struct worker *w, struct relay *relay);
int worker_open(struct worker *w, struct outbox_err *err);
void worker_close(struct worker *w);
void *worker_main(void *worker);

#endif
