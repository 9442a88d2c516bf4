/* SPDX-License-Identifier: Apache-2.0 */
/* rest.c - does a running relay get on with something, or wait for something that is unavailable?
 * For an application that waits until it is idle. */
#include "base/clock.h"
#include "relay/worker.h"

#include <stdio.h>

/* What was deferred is claimed so long after it should be due. */
#define DUE_SLACK_US 100000

static bool is_paused(struct suspension *suspension, const char *kind, const char *name, char *why,
                      size_t cap)
{
    struct suspension_view view = suspension_snapshot(suspension);
    if (view.paused)
        snprintf(why, cap, "%s%s is unavailable: %s", kind, name, view.reason);
    return view.paused;
}

static bool waits(struct relay *relay, char *why, size_t cap)
{
    if (is_paused(&relay->store_suspension, "the store", "", why, cap) ||
        is_paused(&relay->settle_suspension, "the store's settling", "", why, cap))
        return true;
    bool deferred = clock_monotonic_us() < relay->deferred_until_us + DUE_SLACK_US;
    for (size_t i = 0; i < relay->config->n_publishers; i++) {
        struct publisher_state *publisher = &relay->publishers[i];
        if ((deferred || publisher->common->awaited) &&
            is_paused(&publisher->common->breaker.suspension, "publisher ", publisher->config->name,
                      why, cap))
            return true;
    }
    snprintf(why, cap, "messages wait for a publisher that was unavailable");
    return deferred;
}

bool relay_is_resting(struct relay *relay, char *why, size_t cap)
{
    if (waits(relay, why, cap))
        return false;
    for (size_t i = 0; i < relay->config->workers; i++) {
        struct activity_view view = activity_snapshot(&relay->workers[i].activity);
        if (view.step == ACTIVITY_PUBLISHING)
            snprintf(why, cap, "a worker publishes to %s",
                     relay->config->publishers[view.publisher].name);
        else if (view.step == ACTIVITY_SETTLING || view.step == ACTIVITY_RELEASING)
            snprintf(why, cap, "a worker settles a batch");
        else
            continue;
        return false;
    }
    return true;
}
