/* SPDX-License-Identifier: Apache-2.0 */
/*
 * claim_mode.h - the two ways of holding rows: by locks, in a transaction that stays open
 * (locks.c), or by a mark that expires (leases.c). All that differs is in this table, but for what
 * a settle does, see settle_try.c.
 */
#pragma once

#include "claim/claim_batch.h"

/* ---- which rows a claim takes, for the statements of both ---- */

#define READY "m.status = 'pending' AND m.available_at IS NULL AND m.lane IS NULL"
#define DELAYED "m.status = 'pending' AND m.available_at IS NOT NULL AND m.lane IS NULL"
#define DUE DELAYED " AND m.available_at <= statement_timestamp()"

/* $1 is inline_max, of ROW_COLUMNS; $2 are rows to avoid. Fresh rows: from $3, up to $4, $5 at
 * most. */
#define FRESH_ROWS                                                                \
    READY " AND m.seq <> ALL ($2) AND m.seq >= $3 AND m.seq <= $4 ORDER BY m.seq" \
          " LIMIT $5 FOR UPDATE SKIP LOCKED"
/* Rows that waited for a time which has come: $3 at most. */
#define DUE_ROWS \
    DUE " AND m.seq <> ALL ($2) ORDER BY m.available_at LIMIT $3 FOR UPDATE SKIP LOCKED"
/* Of the rows $2 those that can be claimed. */
#define THESE_ROWS                                                        \
    "m.status = 'pending' AND m.lane IS NULL AND (m.available_at IS NULL" \
    " OR m.available_at <= statement_timestamp()) AND m.seq = ANY ($2) FOR UPDATE SKIP LOCKED"

/* ---- how they are held ---- */

/* CLAIM_LOCKS: a transaction stays open as long as the batch is held. */
enum claim_kind { CLAIM_LOCKS, CLAIM_LEASES };

/* Statements claim rows and return ROW_COLUMNS; with leases, then how many rows were to be changed,
 * of which a trigger may have skipped some. Their arguments are those above, then what add_args
 * adds. */
struct claim_mode {
    enum claim_kind kind;
    uint64_t capabilities;
    const char *fresh;
    const char *due;
    const char *these;
    const char *these_bare; /* UNREADABLE_COLUMNS instead */
    enum stmt fresh_stmt;
    enum stmt due_stmt;

    void (*add_args)(const struct claim_batch *b, struct pg_args *args);
    /* Frees rows that were claimed and did not fit; NULL: they are free when the batch is. */
    int (*release_excess)(struct claim_batch *b, struct outbox_err *err);
    /* Frees all that a claim holds which does not become a batch; as far as that can be done now.
     */
    void (*cancel)(struct claim_batch *b);
    /* The claim becomes a batch. */
    void (*keep)(struct claim_batch *b);
    /* Frees what is left of a batch. */
    int (*release)(struct store *s, struct claimed *c, const struct outbox_call *call,
                   struct outbox_err *err);
};

extern const struct claim_mode locks_mode;
extern const struct claim_mode leases_mode;

/* ---- free_rows.c ---- */

/* What is refused, or locked by another session, stays as it is, and stops no others. */

/* Frees what expired leases hold. */
int leases_expire(struct store *s, struct outbox_err *err);
/* Rows that are `processing` without a lease get one. */
int leases_adopt(struct store *s, const struct outbox_claim *claim, struct outbox_err *err);
/* Frees all rows that the token still marks, and ends its lease. */
int leases_give_back(struct store *s, int64_t token, struct outbox_err *err);
/* Of these rows those that the token still marks. */
int leases_give_back_some(struct store *s, int64_t token, const int64_t *seqs, size_t n,
                          struct outbox_err *err);
