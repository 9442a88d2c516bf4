/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_POSTGRES_SETTLE_SETTLE_TRY_H
#define STORE_POSTGRES_SETTLE_SETTLE_TRY_H

#include "settle/settle_sql.h"

/* Settles the wanted items in one transaction: all, or none on failure. Then their states are
 * ROW_SETTLED or ROW_STALE. */
int settle_try(struct settle_sql *q, struct outbox_err *err);

#endif
