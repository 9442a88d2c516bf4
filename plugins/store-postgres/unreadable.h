/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unreadable.h - rows that the server cannot read out (its storage is damaged) or not send (no
 * UTF-8 can be made of a text): each fails by itself. Claim and list include it.
 */
#ifndef STORE_POSTGRES_UNREADABLE_H
#define STORE_POSTGRES_UNREADABLE_H

#include "postgres.h"

/* In place of ROW_COLUMNS: what such a row has in any case. $1 is not used. */
#define UNREADABLE_COLUMNS                                                                \
    "m.seq, m.ctid, m.id, ''::text, 0::int4, ''::text, 0::int4, NULL::bytea, NULL::int4," \
    " NULL::text, NULL::int4, m.retries, m.created_at, m.origin_id"

/* Is that why the last statement failed? */
bool unreadable_is_why(const struct store *s);
/*
 * *ret is the first of these rows that is so, NULL: none; *ret_why is what the server said of it.
 * No transaction may be open. Payloads of more than max_message bytes are not read.
 */
int unreadable_find(struct store *s, const int64_t *seqs, size_t n, uint64_t max_message,
                    const int64_t **ret, struct outbox_err *ret_why, struct outbox_err *err);
/* The message's defect. -1 without memory. */
int unreadable_mark(struct arena *arena, const struct outbox_err *why, struct outbox_message *m);

#endif
