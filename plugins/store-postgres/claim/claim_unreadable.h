/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_POSTGRES_CLAIM_CLAIM_UNREADABLE_H
#define STORE_POSTGRES_CLAIM_CLAIM_UNREADABLE_H

#include "claim/claim_batch.h"

/* A claim failed with r, and *err says why. If that was for rows that cannot be read, another one
 * is made, for fewer rows: of good ones, or of a bad one without what is in it. claim->limit
 * becomes what that one was for. */
int claim_unreadable(struct claim_batch *b, struct store *s, struct outbox_claim *claim, int r,
                     struct outbox_err *err);

#endif
