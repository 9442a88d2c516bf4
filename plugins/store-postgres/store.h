/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - an instance of store-postgres, and what the host calls of it. One thread at a time uses
 * an instance, and nothing of it is shared with another one.
 */
#pragma once

#include "common/quarantine.h"
#include "connection/pipeline.h"

struct claim_mode;

/* ---- a batch that is held, between its claim and its release ---- */

/* What became of a row of the batch. A settle call that fails may have settled some rows all the
 * same; the next call skips those. */
enum row_state {
    ROW_HELD,
    ROW_IN_DOUBT, /* locks: held when the answer to its settle was lost */
    ROW_LOST,     /* locks: another relay has it, or had it; unless it can be locked again */
    /* decided, by a call that may still fail: */
    ROW_SETTLED,
    ROW_STALE,       /* the row was not ours */
    ROW_REFUSED,     /* it has its second outcome */
    ROW_QUARANTINED, /* it is unchanged, and set aside */
    ROW_REPORTED,    /* a call returned with it */
};

/* `batch` first: the host's pointer is ours. Its messages are sorted by seq, see batch_build_end.
 */
struct claimed {
    struct outbox_batch batch;
    int64_t token; /* leases: random, in each of its rows */
    char lease[24];
    uint64_t session; /* locks: whose transaction holds the rows; 0: it was ended */
    int64_t xid;      /* of that transaction, 0: it is over for certain ... */
    int64_t pid;      /* ... and of its session, for the server */
    bool in_doubt;    /* the answer to the last settle was lost: the server may have done it */
    bool ended;       /* leases: its row is deleted */
    uint8_t *states;  /* enum row_state, by the message's index */
    uint32_t n_left;  /* not ROW_REPORTED */
};

/* ---- what an instance keeps beside it ---- */

/* What one claim leaves to the next. */
struct claim_state {
    struct claimed *held; /* NULL: no batch is */
    struct arena arena;   /* the batch */
    PGresult *rows[6];    /* what its messages point into */
    size_t n_rows;
    int64_t bound;         /* fresh rows up to this seq were seen: claims begin behind it */
    uint32_t limit;        /* rows of the next batch at most; 0: as the host wants */
    bool skipped;          /* leases: a trigger skipped rows of the last claim */
    int64_t lost_token;    /* leases: of a claim whose answer never came, or 0 ... */
    int64_t lost_until_us; /* ... and how long it may still be committed; monotonic */
};

/* What the last list, relay_list or init returned; and the rows of a requeue, discard or purge. */
struct page {
    struct arena arena;
    PGresult *rows;
};

/* What a claim has to know of the table beside the rows that are ready, see backlog.c. As last
 * read; times are monotonic, us. */
struct backlog {
    bool due;              /* rows that waited for a time can be taken */
    bool strays;           /* rows are `processing` without a lease */
    int64_t due_us;        /* when the next row that waits is due */
    int64_t lease_us;      /* when the next lease ends */
    int64_t next_read_us;  /* when to read all this again ... */
    int64_t next_stray_us; /* ... to look for strays ... */
    int64_t next_stuck_us; /* ... and for sessions that are stuck */
};

/* Rows that are set aside though their messages were sent: that they are processed is still to be
 * written, see settle/owed.c. */
struct owed_row {
    int64_t seq;
    int64_t address;
    int64_t lease;
    bool deletes;
};
struct owed {
    struct owed_row rows[QUARANTINE_MAX];
    size_t n;
};

/* News of commits, see listener.c. */
struct listener {
    struct conn conn;
    uint64_t listening; /* the session that does; 0: none */
    uint64_t gate;      /* the session that keeps the gate shut: producers notify; 0: none */
    bool claim_is_due;  /* something may have been missed */
    int64_t open_us;    /* monotonic: since when producers keep the gate open; 0: they do not */
    int64_t told_us;    /* ... and when that was logged */
};

/* The lock by which others see that the relay of this instance lives, see relays.c. */
struct relay_lock {
    uint64_t session; /* which has it; 0: none */
    int32_t key;
};

struct store {
    const struct outbox_host *host;
    struct table_name name;
    const struct claim_mode *mode;
    bool notify;
    struct conn conn;
    struct claim_state claim;
    struct backlog backlog;
    struct quarantine quarantine;
    struct owed owed;
    struct quarantine kept; /* rows that cannot be deleted, which purge passes over */
    struct page page;
    struct relay_lock relay;
    struct listener listener; /* notify = on */
};

/* Begins a call, see check_enter; not while a batch is held. */
int store_enter(struct store *s, const struct outbox_call *call, struct outbox_err *err);
/* The same for what is done to the batch that is held. */
int store_enter_held(struct store *s, const struct outbox_call *call, struct outbox_err *err);

/* The table refuses to change this row, for that reason: sets it aside, and logs it. False: there
 * are too many of them. */
bool store_set_aside(struct store *s, int64_t seq, const char *why);
/* Before a claim: writes what can be written by now of rows that were set aside. */
int owed_write(struct store *s, struct outbox_err *err);
/* Adds the rows that are set aside now, as an array. */
void store_add_aside(struct store *s, struct pg_args *args);

/* ---- the operations, see outbox/store.h ---- */

/* claim/ */
int op_claim(void *instance, const struct outbox_claim *claim, const struct outbox_call *call,
             struct outbox_batch **ret, struct outbox_err *err);
int op_renew(void *instance, struct outbox_str lease, uint32_t lease_ms,
             const struct outbox_call *call, uint64_t *ret_held, struct outbox_err *err);

/* settle/ */
int op_settle(void *instance, struct outbox_batch *batch, const struct outbox_settle *const *items,
              uint64_t n, const struct outbox_call *call, uint8_t *settled, struct outbox_err *err);
int op_release(void *instance, struct outbox_batch *batch, const struct outbox_call *call,
               struct outbox_err *err);

/* listener.c, save.c */
int op_wait(void *instance, const struct outbox_call *call, struct outbox_err *err);
int op_wait_stop(void *instance, const struct outbox_call *call, struct outbox_err *err);
/* Does what is sent through conninfo arrive where notify_conninfo leads? OUTBOX_E_CONFIG. */
int listener_try(struct store *s, const struct outbox_call *call, struct outbox_err *err);
int op_save(void *instance, const struct outbox_new *const *rows, uint64_t n,
            const struct outbox_exec *exec, const struct outbox_call *call, struct outbox_err *err);

/* schema/ */
int op_check(void *instance, const struct outbox_call *call, struct outbox_err *err);
int op_schema(void *instance, const struct outbox_exec *exec, struct outbox_err *err);
int op_init(void *instance, const struct outbox_call *call, struct outbox_str *ret,
            struct outbox_err *err);

/* admin/ */
int op_list(void *instance, const struct outbox_filter *filter, int64_t after, uint32_t limit,
            const struct outbox_call *call, struct outbox_page **ret, struct outbox_err *err);
int op_requeue(void *instance, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
               const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err);
int op_discard(void *instance, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
               const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err);
int op_purge(void *instance, const struct outbox_filter *filter, uint32_t limit,
             const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err);
int op_stats(void *instance, struct outbox_str lane, uint32_t flags, const struct outbox_call *call,
             struct outbox_stats *ret, struct outbox_err *err);
int op_relay_put(void *instance, const struct outbox_relay_row *row, const struct outbox_call *call,
                 struct outbox_err *err);
int op_relay_list(void *instance, const struct outbox_call *call, struct outbox_relay_page **ret,
                  struct outbox_err *err);
