/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_POSTGRES_SETTLE_SETTLE_BISECT_H
#define STORE_POSTGRES_SETTLE_SETTLE_BISECT_H

#include "settle/settle_sql.h"

/* Settles all items; their states say what became of them. Fails if none could be settled, or for
 * another reason than that the table refuses rows. */
int settle_bisect(struct settle_sql *q, struct outbox_err *err);

#endif
