/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While claims pass and settles do not (a lock on the whole table, a missing right, a full disk),
 * all that is published is published again. So after one settle that failed no worker publishes
 * until one has passed. The worker whose settle failed tries it again and again; where none has
 * anything to settle, one worker claims one message and settles it as it is, unpublished.
 */
#include "base/clock.h"
#include "relay/worker.h"

#include <string.h>

/* How long the others wait while a worker tries its own batch, ms. */
#define OTHERS_WAIT_MS 1000

void settle_health_failed(struct relay *relay, const struct outbox_err *err)
{
    int64_t pause_ms;
    if (suspension_failed(&relay->settle_suspension, 0, err->text, strlen(err->text), &pause_ms))
        log_event(
            relay->log, OUTBOX_LOG_WARNING,
            "nothing more is published until a settle passes, or it would be sent again; look "
            "for a lock on the table, a missing right, a full disk",
            "error", err->text, NULL);
}

void settle_health_passed(struct relay *relay)
{
    if (!suspension_passed(&relay->settle_suspension))
        return;
    log_event(relay->log, OUTBOX_LOG_INFO, "settles pass again; publishing goes on", NULL);
    wakeup_signal(&relay->wakeup);
}

bool settle_health_is_paused(struct relay *relay)
{
    return suspension_snapshot(&relay->settle_suspension).paused;
}

int64_t settle_health_enter(struct relay *relay, bool *ret_probe)
{
    *ret_probe = false;
    if (relay->settlers > 0 && settle_health_is_paused(relay))
        return OTHERS_WAIT_MS;
    return suspension_enter(&relay->settle_suspension, ret_probe);
}

void settle_health_unknown(struct relay *relay, bool nothing)
{
    if (nothing)
        suspension_check_ok(&relay->settle_suspension); /* the next message is a probe still */
    else
        suspension_unknown(&relay->settle_suspension);
}

/* The row stays what it is, pending and due; where it has a lease the lease is gone then. */
enum batch_state settle_health_probe(struct worker *w)
{
    const struct outbox_settle as_it_is = {.action = OUTBOX_SETTLE_RETRY};
    struct outbox_err err = {.size = sizeof err};
    batch_queue(&w->slot->batch, 0, ROUTE_NONE, &as_it_is);
    settle_once(w, STORE_CALL_MS, &err);
    settle_health_unknown(w->relay, false); /* if it came too late */
    batch_forget_items(&w->slot->batch);
    return BATCH_CLOSED;
}
