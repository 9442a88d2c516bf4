/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/outcome.h"

#include "common/backoff.h"

#include <outbox/helpers.h>

static bool charge(const struct outcome_terms *terms, const struct outbox_message *msg,
                   struct outbox_settle *ret)
{
    const struct delivery *d = terms->delivery;
    ret->flags = OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON;
    if ((uint64_t)msg->retries + 1 >= d->max_retries) {
        ret->action = OUTBOX_SETTLE_FAILED;
    } else {
        ret->action = OUTBOX_SETTLE_RETRY;
        ret->delay_ms = backoff_ms(d->retry_min_ms, d->retry_max_ms, msg->retries, BACKOFF_FULL);
    }
    return true;
}

static bool put_off(int64_t delay_ms, bool with_reason, struct outbox_settle *ret)
{
    ret->action = OUTBOX_SETTLE_RETRY;
    ret->delay_ms = delay_ms;
    ret->flags = with_reason ? OUTBOX_SETTLE_REASON : 0;
    return true;
}

bool outcome_settle(const struct outcome_terms *terms, const struct outbox_message *msg,
                    const struct outbox_outcome *outcome, struct outbox_settle *ret)
{
    bool has_reason = outcome->reason.p && outcome->reason.n > 0;
    *ret = (struct outbox_settle){.size = sizeof *ret, .reason = outcome->reason};
    if (!has_reason)
        ret->reason = outbox_cstr("the publisher gave no reason");

    switch (outcome->verdict) {
    case OUTBOX_ACCEPTED:
        ret->action = OUTBOX_SETTLE_DONE;
        ret->flags = terms->delete_done ? OUTBOX_SETTLE_DELETE : 0;
        return true;
    case OUTBOX_RETRY:
        return charge(terms, msg, ret);
    case OUTBOX_REJECTED:
        ret->action = OUTBOX_SETTLE_FAILED;
        ret->flags = OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON;
        return true;
    case OUTBOX_LATER:
        if (!terms->store_delays)
            return false;
        return put_off(outcome->after_ms ? outcome->after_ms : terms->delivery->retry_min_ms,
                       has_reason, ret);
    case OUTBOX_UNAVAILABLE:
        if (!terms->store_delays)
            return false;
        return put_off(terms->pause_ms, has_reason, ret);
    default: /* unset, and what this host does not know: not known to have arrived */
        return false;
    }
}
