/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - an instance of store-postgres. One thread at a time uses it, and nothing of it is
 * shared with another instance.
 */
#ifndef STORE_POSTGRES_STORE_H
#define STORE_POSTGRES_STORE_H

#include "claim/backlog.h"
#include "claim/claimed.h"
#include "claim/row_quarantine.h"
#include "connection/conn.h"
#include "listener.h"

struct claim_mode;

/* What one claim leaves to the next. */
struct claim_state {
    struct claimed *held; /* NULL: no batch is */
    struct arena arena;   /* the batch */
    PGresult *rows[6];    /* what its messages point into */
    size_t n_rows;
    int64_t bound;         /* fresh rows up to this seq were seen: claims begin behind it */
    uint32_t limit;        /* rows of the next batch at most; 0: as the host wants */
    int64_t lost_token;    /* leases: of a claim whose answer never came, or 0 ... */
    int64_t lost_until_us; /* ... and how long it may still be committed; monotonic */
};

/* What the last list, relay_list or init returned; and the rows of a requeue, discard or purge. */
struct page {
    struct arena arena;
    PGresult *rows;
};

struct store {
    const struct outbox_host *host;
    struct table_name name;
    const struct claim_mode *mode;
    bool notify;
    struct conn conn;
    struct claim_state claim;
    struct backlog backlog;
    struct row_quarantine quarantine;
    struct page page;
    struct listener listener; /* notify = on */
};

/* Begins a call, see check_enter; not while a batch is held. */
int store_enter(struct store *s, const struct outbox_call *call, struct outbox_err *err);
/* The same for what is done to the batch that is held. */
int store_enter_held(struct store *s, const struct outbox_call *call, struct outbox_err *err);

#endif
