/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quarantine.h - rows that the database refuses to change, by their seq: a store leaves each alone
 * for a minute, then for two, four, ... up to an hour, so that one such row stops no other, and
 * nobody works on it for ever. The stores' rule for refused rows is in <outbox/store.h>.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUARANTINE_MAX 1000
#define QUARANTINE_REASON_MAX 400

struct quarantine_row {
    int64_t seq;
    int64_t until_us; /* monotonic, of the host */
    uint32_t times;   /* it was added */
};

/* Zeroed: empty. One thread at a time. */
struct quarantine {
    struct quarantine_row rows[QUARANTINE_MAX];
    size_t n;
    int64_t active[QUARANTINE_MAX];     /* quarantine_active returns it */
    char reason[QUARANTINE_REASON_MAX]; /* of the row that was added last */
};

/* Begins, or begins again, a row's quarantine. Returns for how long, ms; 0: there are too many
 * rows. `why` is one line. */
int64_t quarantine_add(struct quarantine *q, int64_t seq, int64_t now_us, const char *why);

/* The rows to be left alone now, rising; *ret_n of them. The array is valid until the next call.
 * A row whose time is over may be tried again; how often it was added is remembered for as long
 * again. */
const int64_t *quarantine_active(struct quarantine *q, int64_t now_us, size_t *ret_n);

bool quarantine_has(const struct quarantine *q, int64_t seq, int64_t now_us);

/* The row could be changed, or is gone. */
void quarantine_remove(struct quarantine *q, int64_t seq);
