/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_POSTGRES_CLAIM_LEASES_H
#define STORE_POSTGRES_CLAIM_LEASES_H

#include <outbox/plugin.h>

struct store;

/* Frees what expired leases hold. */
int leases_expire(struct store *s, struct outbox_err *err);
/* Rows that are `processing` without a lease get one. */
int leases_adopt(struct store *s, const struct outbox_claim *claim, struct outbox_err *err);
/* Frees all rows that the token still marks. */
int leases_give_back(struct store *s, int64_t token, struct outbox_err *err);

#endif
