/* SPDX-License-Identifier: Apache-2.0 */
/* settle_sql.h - one settle call on its way. Only the files of settling include it. */
#ifndef STORE_POSTGRES_SETTLE_SETTLE_SQL_H
#define STORE_POSTGRES_SETTLE_SETTLE_SQL_H

#include "postgres.h"

/* What is written: what the host told; that without reasons; or only that they wait. */
enum how { HOW_TOLD, HOW_BARE, HOW_PUT_OFF };

struct settling {
    struct store *s;
    struct claimed *c;
    const struct outbox_settle *const *items;
    uint8_t *stale;
    size_t n;
    bool *wanted;    /* items to settle now, normally all */
    bool *held;      /* of these, those whose rows are ours, as far as known */
    bool *part;      /* items of the statement that is made */
    size_t *item_of; /* by index into the batch, plus one; 0: none */
    enum how how;
    bool plain; /* reasons in ASCII */
};

/* A statement settles one of these. */
enum part { PART_DELETE, PART_KEEP, PART_CHANGE, N_PARTS };

/* In a transaction: settles what is wanted. */
typedef int settling_fn(struct settling *t, struct outbox_err *err);

/* Fills the arrays: all is wanted but for what is settled already. -1 without memory. */
int settling_begin(struct settling *t);
/* What is wanted is held, and not stale. */
void settling_retry(struct settling *t);
const struct outbox_message *settling_message(const struct settling *t, size_t i);
/* The item of the row with this seq, or t->n. */
size_t settling_find(const struct settling *t, int64_t seq);

/* The rows of the items that `part` marks: by address with locks, by seq with leases. */
void settling_args_rows(struct args *args, const struct settling *t, const bool *part);
/* Marks in part[] the items that are held and belong to it; how many. */
size_t settling_members(const struct settling *t, enum part part);
/* Puts the statements of those items that are held behind the first n steps; how many there are
 * then. args[N_PARTS]. */
size_t settling_add_parts(const struct settling *t, struct step *steps, size_t n,
                          struct args *args);

/* Instead of the transaction that was lost there is another, which holds what it can; held[] and
 * the batch's lost[] say what. */
int regain(struct settling *t, struct outbox_err *err);

/* After `by` failed with r: what was refused by the table is settled message by message. */
int settle_apart(struct settling *t, settling_fn *by, int r, struct outbox_err *err);

#endif
