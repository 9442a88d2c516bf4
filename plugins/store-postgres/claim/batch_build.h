/* SPDX-License-Identifier: Apache-2.0 */
/* batch_build.h - rows become the messages of a batch. Only the claim includes it. */
#ifndef STORE_POSTGRES_CLAIM_BATCH_BUILD_H
#define STORE_POSTGRES_CLAIM_BATCH_BUILD_H

#include "postgres.h"

struct gathering {
    struct store *store;
    const struct outbox_claim *claim;
    uint64_t inline_max; /* payloads up to this come with their rows */
    struct outbox_message **messages;
    uint32_t n;
    uint64_t bytes;
    int64_t *large; /* of messages whose payload is not there yet */
    uint32_t n_large;
    int64_t *excess; /* of rows that are held and did not fit */
    uint32_t n_excess;
    bool full; /* something did not fit */
};

/* -1 without memory. */
int gather_begin(struct gathering *g, struct store *s, const struct outbox_claim *claim);
/* Takes the result over. */
int gather_rows(struct gathering *g, PGresult *rows, struct outbox_err *err);
/* In order of seq. */
void gather_sort(struct gathering *g);
/* Loads what did not come with its row; after gather_sort. */
int gather_payloads(struct gathering *g, struct outbox_err *err);

#endif
