/* SPDX-License-Identifier: Apache-2.0 */
/* row_quarantine.h - rows that can neither be published nor changed: this instance does not claim
 * them for a minute, so that one such row does not stop all the others. */
#ifndef STORE_POSTGRES_CLAIM_ROW_QUARANTINE_H
#define STORE_POSTGRES_CLAIM_ROW_QUARANTINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROW_QUARANTINE_MAX 1000

struct store;

struct row_quarantine {
    int64_t seqs[ROW_QUARANTINE_MAX];
    int64_t until_us[ROW_QUARANTINE_MAX]; /* monotonic; rising */
    size_t n;
};

/* Adds and logs it. False: there are too many of them. */
bool row_quarantine_add(struct store *s, int64_t seq, const char *why);
/* Frees those whose minute is over; how many are left, in s->quarantine.seqs. */
size_t row_quarantine_expire(struct store *s);

#endif
