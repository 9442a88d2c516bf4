/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/outcome.h"

#include "common/backoff.h"

#include <outbox/helpers.h>

/* The action after a charged attempt: another one, after a delay, or none. */
static uint32_t charge(const struct delivery *d, const struct outbox_message *msg,
                       int64_t *ret_delay_ms)
{
    if ((uint64_t)msg->retries + 1 >= d->max_retries)
        return OUTBOX_SETTLE_FAILED;
    *ret_delay_ms = backoff_ms(d->retry_min_ms, d->retry_max_ms, msg->retries, BACKOFF_FLOOR);
    return OUTBOX_SETTLE_RETRY;
}

void outcome_add_second(const struct delivery *terms, const struct outbox_message *msg,
                        struct outbox_settle *settle)
{
    settle->refused_delay_ms = 0;
    settle->refused_action = charge(terms, msg, &settle->refused_delay_ms);
    settle->refused_flags = OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON;
}

/* It waits for as long as the publisher asks; a day at most. */
static void later(const struct delivery *d, const struct outbox_outcome *outcome,
                  struct outbox_settle *ret)
{
    ret->delay_ms = outcome->after_ms ? outcome->after_ms : d->retry_min_ms;
    if (outcome->after_ms > OUTBOX_AFTER_MAX_MS)
        ret->delay_ms = OUTBOX_AFTER_MAX_MS;
    if (!outcome->reason.p || outcome->reason.n == 0)
        ret->reason = outbox_cstr("the publisher asked to wait, and gave no reason");
}

bool outcome_settle(const struct outcome_terms *terms, const struct outbox_message *msg,
                    const struct outbox_outcome *outcome, struct outbox_settle *ret)
{
    const struct delivery *d = terms->delivery;
    bool has_reason = outcome->reason.p && outcome->reason.n > 0;
    *ret = (struct outbox_settle){.action = OUTBOX_SETTLE_RETRY, .reason = outcome->reason};
    if (!has_reason)
        ret->reason = outbox_cstr("the publisher gave no reason");

    switch (outcome->verdict) {
    case OUTBOX_ACCEPTED:
        ret->action = OUTBOX_SETTLE_DONE;
        ret->flags = terms->delete_done ? OUTBOX_SETTLE_DELETE : 0;
        return true;
    case OUTBOX_RETRY:
    case OUTBOX_REJECTED:
        ret->flags = OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON;
        ret->action = outcome->verdict == OUTBOX_REJECTED ? OUTBOX_SETTLE_FAILED
                                                          : charge(d, msg, &ret->delay_ms);
        return true;
    case OUTBOX_LATER:
    case OUTBOX_UNAVAILABLE:
        if (outcome->verdict == OUTBOX_UNAVAILABLE)
            ret->delay_ms = terms->pause_ms;
        else
            later(d, outcome, ret);
        ret->flags = has_reason || outcome->verdict == OUTBOX_LATER ? OUTBOX_SETTLE_REASON : 0;
        return terms->store_delays;
    default: /* unset, and what this host does not know: not known to have arrived */
        return false;
    }
}
