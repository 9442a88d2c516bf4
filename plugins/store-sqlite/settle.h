/* SPDX-License-Identifier: Apache-2.0 */
/* settle.h - the settle of one row, in the transaction that is open or (settle_refused.c) in its
 * own. */
#pragma once

#include "store.h"

/* *ret_settled: OUTBOX_SETTLED or _STALE. */
int settle_one(struct store *s, int64_t seq, int64_t lease, const struct outbox_settle *item,
               uint8_t *ret_settled, struct outbox_err *err);

/* The database refuses the outcome of the row, because of s->row_fault: the row gets its second
 * one, or is left alone. */
int settle_refused(struct store *s, int64_t seq, int64_t lease, const struct outbox_settle *item,
                   uint8_t *ret_settled, struct outbox_err *err);
/* Writes outcomes that were refused, once their rows' quarantine is over: what was sent need not be
 * sent again. */
int settle_refused_again(struct store *s, struct outbox_err *err);
