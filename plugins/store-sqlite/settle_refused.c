/* SPDX-License-Identifier: Apache-2.0 */
/* settle_refused.c - what becomes of a row whose outcome the database does not let us write. */
#include "db.h"
#include "lease.h"
#include "refused.h"
#include "settle.h"

#include <stdio.h>

/* In a transaction of its own. 1: the database refuses this, too. */
static int try_outcome(struct store *s, int64_t seq, int64_t lease,
                       const struct outbox_settle *item, uint8_t *ret_settled,
                       struct outbox_err *err)
{
    int r = db_begin(s, err);
    if (r < 0)
        return r;
    r = db_end(s, settle_one(s, seq, lease, item, ret_settled, err), err);
    return r < 0 && s->row_at_fault ? 1 : r;
}

/* ---- outcomes that wait for the database to accept them ---- */

static void remember(struct store *s, int64_t seq, int64_t lease, const struct outbox_settle *item)
{
    if (s->refused.n_outcomes < REFUSED_OUTCOMES_MAX)
        s->refused.outcomes[s->refused.n_outcomes++] =
            (struct refused_outcome){seq, lease, item->action, item->flags & ~OUTBOX_SETTLE_REASON};
}

int settle_refused_again(struct store *s, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    uint8_t settled;
    for (size_t i = 0; r >= 0 && i < s->refused.n_outcomes; i++) {
        const struct refused_outcome o = s->refused.outcomes[i];
        const struct outbox_settle item = {
            .size = sizeof item, .action = o.action, .flags = o.flags};
        if (refused_has(s, o.seq))
            continue;
        r = try_outcome(s, o.seq, o.lease, &item, &settled, err);
        if (r > 0) {
            refused_quarantine(s, o.seq);
            r = lease_hold(s, o.lease, err);
        } else if (r == 0) {
            if (settled == OUTBOX_SETTLED)
                quarantine_remove(&s->refused.quarantine, o.seq);
            s->refused.outcomes[i--] = s->refused.outcomes[--s->refused.n_outcomes];
            r = lease_end_or_hold(s, o.lease, err);
        }
    }
    return r;
}

/* ---- the second outcome ---- */

static bool has_second(const struct outbox_settle *item)
{
    return OUTBOX_HAS(item, refused_delay_ms) && (item->refused_action == OUTBOX_SETTLE_RETRY ||
                                                  item->refused_action == OUTBOX_SETTLE_FAILED);
}

int settle_refused(struct store *s, int64_t seq, int64_t lease, const struct outbox_settle *item,
                   uint8_t *ret_settled, struct outbox_err *err)
{
    char text[QUARANTINE_REASON_MAX + 40];
    struct outbox_settle kept = *item, second = {.size = sizeof second};
    int r = 1;
    snprintf(text, sizeof text, "the database refuses the outcome: %s", s->row_fault);
    if (item->action == OUTBOX_SETTLE_DONE && (item->flags & OUTBOX_SETTLE_DELETE)) {
        kept.flags &= ~OUTBOX_SETTLE_DELETE;
        r = try_outcome(s, seq, lease, &kept, ret_settled, err);
    }
    if (r <= 0)
        return r; /* what cannot be deleted is kept as processed */
    if (has_second(item)) {
        second.action = item->refused_action;
        second.flags = item->refused_flags | OUTBOX_SETTLE_REASON;
        second.delay_ms = item->refused_delay_ms;
        second.reason = outbox_cstr(text);
        r = try_outcome(s, seq, lease, &second, ret_settled, err);
        second.flags &= ~OUTBOX_SETTLE_REASON;
        if (r > 0)
            r = try_outcome(s, seq, lease, &second, ret_settled, err);
    }
    if (r == 0 && *ret_settled == OUTBOX_SETTLED)
        *ret_settled = OUTBOX_SETTLED_REFUSED;
    if (r <= 0)
        return r;
    refused_quarantine(s, seq);
    remember(s, seq, lease, item);
    *ret_settled = OUTBOX_SETTLED_QUARANTINED;
    return OUTBOX_OK;
}
