/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lease.h - which claim has which rows until when. A claim is a random number in each of its rows,
 * and a row of {t}_leases with the time of its end. A settle names the number, so that one that
 * comes after that end changes nothing.
 */
#pragma once

#include "store.h"

/* Rows that are `processing` under no lease: another program's relay took them. */
#define LEASE_ORPHANS                                                           \
    "\"{t}\" INDEXED BY \"{t}_held\" WHERE status = 'processing' AND (lease IS" \
    " NULL OR lease NOT IN (SELECT lease FROM \"{t}_leases\")) AND NOT"         \
    " outbox_quarantined(seq)"

/* Steps of a transaction. */
int lease_new(struct store *s, const struct outbox_claim *claim, int64_t *ret,
              struct outbox_err *err);
/* Ends a lease, whose rows are settled or free. */
int lease_end(struct store *s, int64_t lease, struct outbox_err *err);

/* The same, in a transaction of its own: where rows are left that the database refuses to change,
 * the lease goes on, so that other instances leave them alone, too. */
int lease_end_or_hold(struct store *s, int64_t lease, struct outbox_err *err);
/* Makes the lease of a row that is left alone last for as long. */
int lease_hold(struct store *s, int64_t lease, struct outbox_err *err);

/* Frees the rows of a lease, and ends it. */
int lease_free(struct store *s, int64_t lease, struct outbox_err *err);
/* Frees the rows of leases that are over. */
int lease_expire(struct store *s, uint64_t *ret_n, struct outbox_err *err);
/* Gives the orphaned rows a lease, which expires like any. */
int lease_adopt_orphans(struct store *s, const struct outbox_claim *claim, struct outbox_err *err);
