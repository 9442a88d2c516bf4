/* SPDX-License-Identifier: Apache-2.0 */
/* claim_batch.h - one claim on its way to a batch. */
#pragma once

#include "claim/row.h"
#include "store.h"

/* ---- batch_build.c ---- */

/*
 * Rows become the messages of a batch, which has so many bytes and no more.
 *
 * A claim loads payloads only up to the share of the batch's bytes that each row has, and little of
 * the other columns; so one round trip brings a batch of ordinary messages, and not much more than
 * may be. Larger ones are loaded afterwards, as far as they fit; rows that do not fit are the
 * excess.
 */
struct batch_build {
    struct store *store;
    const struct outbox_claim *claim;
    uint64_t inline_max; /* payloads up to this come with their rows */
    struct outbox_message **messages;
    uint32_t n;
    uint64_t bytes;
    int64_t *large; /* seqs of messages that have not come whole yet */
    uint32_t n_large;
    int64_t *excess; /* seqs of rows that were claimed and did not fit */
    uint32_t n_excess;
    bool full; /* something did not fit */
};

/* OUTBOX_E_RETRY without memory. */
int batch_build_begin(struct batch_build *b, struct store *s, const struct outbox_claim *claim);
/* Takes the result over. */
int batch_build_rows(struct batch_build *b, PGresult *rows, struct outbox_err *err);
/* Sorts the messages by seq, and loads what did not come with its row. */
int batch_build_end(struct batch_build *b, struct outbox_err *err);

/* ---- claim_batch.c ---- */

struct claim_batch {
    struct store *s;
    struct batch_build build;
    struct claimed *c;
    bool begun;        /* rows are held, or a transaction is open */
    bool backlog_seen; /* the backlog was read */
    bool skipped;      /* leases: a trigger skipped rows that were to be held */
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

/* Frees what the messages of the last batch point into. */
void claim_batch_free(struct store *s);

/* ---- claim_apart.c ---- */

/* A claim returned r, and *err says why. If that may be for a row that cannot be read, or that the
 * table refuses to change, others are made for fewer rows: of good ones, or of a bad one. What
 * cannot be claimed at all is set aside. claim->limit becomes what the last one was for. */
int claim_apart(struct claim_batch *b, struct store *s, struct outbox_claim *claim, int r,
                struct outbox_err *err);

/* ---- backlog.c ---- */

/* A statement that reads it, to go along with a claim, and its result: has the claim found rows? */
struct step backlog_step(struct store *s, int64_t token, struct pg_args *args);
bool backlog_read(struct store *s, const PGresult *row);
int64_t backlog_next_due_ms(const struct store *s);
/* Is there something that backlog_free_abandoned would free now? Then a claim is worth one more
 * try. */
bool backlog_is_due(const struct store *s);
/* Before a claim: frees what was left behind. */
int backlog_free_abandoned(struct store *s, const struct outbox_claim *claim,
                           struct outbox_err *err);
