/* SPDX-License-Identifier: Apache-2.0 */
/*
 * claim_mode.h - the two ways of holding rows: by locks, in a transaction that stays open
 * (locks.c), or by a mark that expires (leases.c). All that differs is in this table, but for what
 * a settle does, see settle_try.c.
 */
#ifndef STORE_POSTGRES_CLAIM_CLAIM_MODE_H
#define STORE_POSTGRES_CLAIM_CLAIM_MODE_H

#include "claim/claim_batch.h"
#include "connection/pipeline.h"

enum claim_kind { CLAIM_LOCKS, CLAIM_LEASES };

/* Statements claim rows and return ROW_COLUMNS. Their arguments are those of claim_sql.h, then what
 * add_args adds. */
struct claim_mode {
    enum claim_kind kind;
    bool keeps_transaction; /* as long as the batch is held */
    uint64_t capabilities;
    const char *fresh;
    const char *due;
    const char *these; /* UNREADABLE_COLUMNS instead */
    enum stmt fresh_stmt;
    enum stmt due_stmt;

    void (*add_args)(const struct claim_batch *b, struct pg_args *args);
    /* Runs `main`, and `backlog` unless NULL, in one round trip. */
    int (*run)(struct claim_batch *b, struct step *main, struct step *backlog,
               struct outbox_err *err);
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

#endif
