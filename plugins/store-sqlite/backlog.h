/* SPDX-License-Identifier: Apache-2.0 */
/* backlog.h - what there is to claim, read without a lock. */
#pragma once

#include "store.h"

/* The indexes are named: statistics taken at a bad moment, or an index that was added, must not
 * make a claim read every row that is kept. */
#define READY                                                                       \
    "\"{t}\" INDEXED BY \"{t}_ready\" WHERE status = 'pending' AND available_at IS" \
    " NULL AND lane IS NULL AND NOT outbox_passed_over(seq)"
#define DELAYED                                                                       \
    "\"{t}\" INDEXED BY \"{t}_delayed\" WHERE status = 'pending' AND available_at IS" \
    " NOT NULL AND lane IS NULL AND NOT outbox_passed_over(seq)"
/* Text or bytes, which come after all numbers. */
#define TEXT_TIME DELAYED " AND available_at >= ''"

struct backlog {
    bool ready;
    bool orphans;       /* or times that are text */
    int64_t delayed_us; /* the first delayed row's time, which may be 0; INT64_MAX: none */
    int64_t lease_us;   /* the end of the lease that ends first; INT64_MAX: none */
    int64_t now_us;
};

int backlog_read(struct store *s, struct backlog *ret, struct outbox_err *err);
bool backlog_has_work(const struct backlog *backlog);
/* When a delay ends, or a lease that its relay may not renew any more. */
int64_t backlog_next_due_ms(const struct backlog *backlog);
/* Rows that are not what they should be become so first: leases that are over, orphans, times that
 * are text. */
int backlog_prepare(struct store *s, const struct outbox_claim *claim, struct backlog *backlog,
                    struct outbox_err *err);
