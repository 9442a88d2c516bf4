/* SPDX-License-Identifier: Apache-2.0 */
/* claim_batch.h - one claim on its way to a batch. */
#ifndef STORE_POSTGRES_CLAIM_CLAIM_BATCH_H
#define STORE_POSTGRES_CLAIM_CLAIM_BATCH_H

#include "claim/batch_build.h"
#include "claim/claimed.h"
#include "connection/pipeline.h"

struct claim_batch {
    struct store *s;
    struct batch_build build;
    struct claimed *c;
    bool begun;        /* rows are held, or a transaction is open */
    bool backlog_seen; /* the backlog was read */
    int64_t bound;     /* for the next claim, see struct claim_state */
};

/* All of a claim: a batch, whose rows are held if there are any. */
int claim_batch_take(struct claim_batch *b, struct store *s, const struct outbox_claim *claim,
                     struct outbox_err *err);

/* Its steps: begin; run statements, each with the mode's arguments behind its own; end, which gets
 * what came of them. */
int claim_batch_begin(struct claim_batch *b, struct store *s, const struct outbox_claim *claim,
                      struct outbox_err *err);
int claim_batch_run(struct claim_batch *b, struct step main, bool with_backlog,
                    struct outbox_err *err);
/* Returns r. A claim that failed, or got no rows, holds nothing any more. */
int claim_batch_end(struct claim_batch *b, int r);

/* claim_unreadable.c: a claim failed with r, and *err says why. If that was for rows that cannot be
 * read, another one is made, for fewer rows: of good ones, or of a bad one without what is in it.
 * claim->limit becomes what that one was for. */
int claim_unreadable(struct claim_batch *b, struct store *s, struct outbox_claim *claim, int r,
                     struct outbox_err *err);

/* Frees what the messages of the last batch point into. */
void claim_batch_free(struct store *s);

#endif
