/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch_build.h - rows become the messages of a batch, which has so many bytes and no more.
 *
 * A claim loads payloads and headers only up to the share of the batch's bytes that each row has;
 * so one round trip brings a batch of ordinary messages, and never more than may be. Larger ones
 * are loaded afterwards, as far as they fit; rows that do not fit are the excess.
 */
#ifndef STORE_POSTGRES_CLAIM_BATCH_BUILD_H
#define STORE_POSTGRES_CLAIM_BATCH_BUILD_H

#include <outbox/plugin.h>

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

struct store;

struct batch_build {
    struct store *store;
    const struct outbox_claim *claim;
    uint64_t inline_max; /* payloads up to this come with their rows */
    struct outbox_message **messages;
    uint32_t n;
    uint64_t bytes;
    int64_t *large; /* seqs of messages whose payload is not loaded yet */
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

#endif
