/* SPDX-License-Identifier: Apache-2.0 */
/* backlog.h - what a claim has to know of the table beside the rows that are ready: rows that wait
 * for a time, leases that end, and what dead relays left behind. */
#ifndef STORE_POSTGRES_CLAIM_BACKLOG_H
#define STORE_POSTGRES_CLAIM_BACKLOG_H

#include "connection/pipeline.h"

struct store;

/* As last read; times are monotonic, us. */
struct backlog {
    bool due;              /* rows that waited for a time can be taken */
    bool strays;           /* rows are `processing` without a lease */
    int64_t due_us;        /* when the next row that waits is due */
    int64_t lease_us;      /* when the next lease ends */
    int64_t next_read_us;  /* when to read all this again ... */
    int64_t next_stray_us; /* ... to look for strays ... */
    int64_t next_stuck_us; /* ... and for sessions that are stuck */
};

/* A statement that reads it, to go along with a claim, and its result. */
struct step backlog_step(struct store *s, struct pg_args *args);
void backlog_read(struct store *s, const PGresult *row);
int64_t backlog_next_due_ms(const struct store *s);
/* Is there something that backlog_free_abandoned would free now? Then a claim is worth one more
 * try. */
bool backlog_is_due(const struct store *s);
/* Before a claim: frees what was left behind. */
int backlog_free_abandoned(struct store *s, const struct outbox_claim *claim,
                           struct outbox_err *err);

#endif
