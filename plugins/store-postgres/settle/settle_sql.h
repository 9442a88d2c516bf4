/* SPDX-License-Identifier: Apache-2.0 */
/* settle_sql.h - one settle call on its way: its items, and the statements that settle their rows.
 */
#pragma once

#include "claim/claim_mode.h"

/* What is written of an item: its outcome; or, if the database refuses that, the same as far as it
 * goes, or its second one. */
enum settle_mode {
    SETTLE_FULL,
    SETTLE_KEPT, /* processed instead of deleted */
    SETTLE_WITHOUT_REASON,
    SETTLE_SECOND,
    SETTLE_SECOND_WITHOUT_REASON,
    N_SETTLE_MODES
};

struct settle_sql {
    struct store *s;
    struct claimed *c;
    const struct outbox_settle *const *items;
    size_t n;
    bool *wanted;    /* items to settle now */
    bool *marked;    /* of these, the items of one statement */
    bool *open;      /* decided in a transaction that is open, see settle_apart.c */
    size_t *item_of; /* by index into the batch, plus one; 0: none */
    enum settle_mode mode;
    struct outbox_str why; /* the reason of a second outcome */
    bool ascii;    /* reasons lose what is not ASCII: the database's encoding may not have it */
    bool no_rows;  /* the statements run, for no row */
    bool in_parts; /* in a transaction that is open: the statements return their rows */
};

/* Why a row is refused without an error. */
#define SETTLE_LOCKED "another session keeps the row locked"
#define SETTLE_SKIPPED "a trigger or a policy of the table skips the row"

/* A statement settles one of these. */
enum settle_part { PART_DELETE, PART_KEEP, PART_CHANGE, N_PARTS };

/* Fills the arrays. OUTBOX_E_RETRY without memory. */
int settle_sql_begin(struct settle_sql *q, struct outbox_err *err);
/* Wants the items of the range that are not decided yet; how many. */
size_t settle_sql_want(struct settle_sql *q, size_t from, size_t count);
const struct outbox_message *settle_sql_message(const struct settle_sql *q, size_t i);
/* enum row_state of the item's row */
uint8_t *settle_sql_state(const struct settle_sql *q, size_t i);
/* The item of the row with this seq, or q->n. */
size_t settle_sql_find(const struct settle_sql *q, int64_t seq);
/* Has the item something else to write in this mode? */
bool settle_sql_has(const struct settle_sql *q, size_t i, enum settle_mode mode);

/* Adds which rows the marked items are: with locks by address; with leases by seq, and the lease.
 */
void settle_sql_args(const struct settle_sql *q, struct pg_args *args);
/* Marks the wanted items whose rows are held and which belong to the part; how many. */
size_t settle_sql_mark(const struct settle_sql *q, enum settle_part part);
/* Puts the statements of these items, by part, into steps[N_PARTS], args[N_PARTS]; how many. */
size_t settle_sql_steps(const struct settle_sql *q, struct step *steps, struct pg_args *args);

/* ---- settle_try.c ---- */

/* Settles the wanted items in one transaction: all, or none on failure. Rows that are still ours
 * and were not changed all the same stay undecided. */
int settle_try(struct settle_sql *q, struct outbox_err *err);
/* The same for a part of them. With locks the transaction is open, and stays open. */
int settle_try_part(struct settle_sql *q, struct outbox_err *err);
/* The same statements for no row: if they fail, too, a failure was not for a row. */
int settle_try_nothing(struct settle_sql *q, struct outbox_err *err);
/* Leases: marks the wanted rows that are ours, and which another session has locked; how many. */
int settle_find_locked(struct settle_sql *q, size_t *ret_n, struct outbox_err *err);

/* ---- relock.c, settle_apart.c ---- */

/* Begins a transaction that holds what it can of the wanted rows, after the one that did is over.
 * Their states are then ROW_HELD; ROW_LOST; or ROW_SETTLED by the last try, and those are wanted no
 * more. */
int relock_rows(struct settle_sql *q, struct outbox_err *err);
/* Settles all items; their states say what became of them. */
int settle_apart(struct settle_sql *q, struct outbox_err *err);

/* ---- owed.c ---- */

/* The item's row is set aside. */
void owed_add(const struct settle_sql *q, size_t i);
