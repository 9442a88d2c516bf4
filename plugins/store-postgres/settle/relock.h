/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relock.h - when the transaction that held a batch is over without having settled it (a refused
 * row, a cut connection, a server that ended it or crashed), those rows are locked once more which
 * nobody has touched meanwhile: no message is sent twice because a connection broke, and none is
 * changed that another relay has had.
 */
#ifndef STORE_POSTGRES_SETTLE_RELOCK_H
#define STORE_POSTGRES_SETTLE_RELOCK_H

#include "settle/settle_sql.h"

/* Begins a transaction that holds what it can of the wanted rows. Their states are then ROW_HELD;
 * ROW_LOST; or ROW_SETTLED by the last try, and those are wanted no more. */
int relock_rows(struct settle_sql *q, struct outbox_err *err);

#endif
