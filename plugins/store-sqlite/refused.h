/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refused.h - the rule for rows that the database does not let us change, see <outbox/store.h>:
 * they are found, the others are changed, and they are left alone for a while. SQL knows those as
 * outbox_quarantined(seq).
 *
 * Every statement names one row, so that the one which fails names the culprit, and no search is
 * needed. What was changed before it in the transaction is done anew without it, because a trigger
 * may have ended the transaction (RAISE(ROLLBACK)), or left a half of its work (RAISE(FAIL)).
 */
#pragma once

#include "store.h"

/* A change of several rows. */
struct refused_change {
    void *ctx;
    /* Changes item i in the transaction that is open. A failure with s->row_at_fault is a refusal.
     */
    int (*change)(struct store *s, void *ctx, size_t i, struct outbox_err *err);
    /* The change of item i is committed. */
    void (*passed)(struct store *s, void *ctx, size_t i);
    /* The database refuses it; s->row_fault says why. No transaction is open. */
    int (*refused)(struct store *s, void *ctx, size_t i, struct outbox_err *err);
};
int refused_run(struct store *s, const struct refused_change *change, size_t n,
                struct outbox_err *err);

/* Leaves the row alone for a while, because of s->row_fault, and tells that. */
void refused_quarantine(struct store *s, int64_t seq);
/* Until when its lease is to keep other instances from it. */
int64_t refused_until_us(const struct store *s);
/* Is the row left alone now? */
bool refused_has(const struct store *s, int64_t seq);
/* The SQL function outbox_quarantined(seq). */
void refused_sql(sqlite3_context *context, int n, sqlite3_value **values);
/* outbox_passed_over(seq): is the row not to be claimed? So are those in front of one that found
 * the quarantine full, so that however many are refused, they do not stand in the way of others. */
void refused_pass_over_sql(sqlite3_context *context, int n, sqlite3_value **values);
