/* SPDX-License-Identifier: Apache-2.0 */
/* claimed.h - a batch that is held, between its claim and its release. */
#ifndef STORE_POSTGRES_CLAIM_CLAIMED_H
#define STORE_POSTGRES_CLAIM_CLAIMED_H

#include "connection/conn.h"

/* What became of a row of the batch. A settle call that fails may have settled some rows all the
 * same; the next call skips those. */
enum row_state {
    ROW_HELD,
    ROW_IN_DOUBT, /* locks: held when the answer to its settle was lost */
    ROW_LOST,     /* locks: another relay has it, or had it; unless it can be locked again */
    ROW_SETTLED,  /* by a call that may still fail */
    ROW_STALE,    /* the same, but the row was not ours */
    ROW_REPORTED, /* a call returned with it */
};

/* `batch` first: the host's pointer is ours. Its messages are sorted by seq, see claim_batch.h. */
struct claimed {
    struct outbox_batch batch;
    int64_t token; /* leases: random, in each of its rows */
    char lease[24];
    uint64_t session; /* locks: whose transaction holds the rows; 0: it was ended */
    int64_t xid;      /* of that transaction ... */
    int64_t pid;      /* ... and of its session, for the server */
    bool in_doubt;    /* the answer to the last settle was lost: the server may have done it */
    uint8_t *states;  /* enum row_state, by the message's index */
    uint32_t n_left;  /* not ROW_REPORTED */
};

/* Locks: is the transaction that holds the rows still open, as far as known? */
static inline bool claimed_is_open(const struct claimed *c, const struct conn *conn)
{
    return conn_has_session(conn, c->session);
}

#endif
