/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "plugin/current_call.h"
#include "relay/worker.h"

#include <outbox/helpers.h>

/* A publisher that does not answer its check must not delay an idle worker for long. */
#define IDLE_CHECK_MS 2000
/* A once-relay ends soon after the last message, not at the next poll. */
#define ONCE_US 100000

/* Lets a publisher serve its connection. When it wants that again, monotonic us. */
static int64_t keepalive(struct worker *w, size_t publisher)
{
    struct outbox_keepalive keepalive = {.again_ms = 0};
    struct outbox_err err = {.size = sizeof err};
    activity_begin(&w->activity, ACTIVITY_CHECKING, publisher);
    int r = publisher_keepalive(w->publishers[publisher], &keepalive, &err);
    if (r == OUTBOX_OK && keepalive.verdict == OUTBOX_UNAVAILABLE)
        publisher_health_failed(w, publisher, 0, 0, keepalive.reason);
    else if (r < 0 && r != OUTBOX_E_NOTSUP && r != OUTBOX_E_BROKEN && r != OUTBOX_E_FULL)
        publisher_health_failed(w, publisher, 0, 0, outbox_cstr(err.text));
    return r == OUTBOX_E_BROKEN || keepalive.again_ms == 0
               ? INT64_MAX
               : clock_monotonic_us() + (int64_t)keepalive.again_ms * 1000;
}

/* Without messages nothing else would find out that a publisher can be tried again. When it is to
 * be checked again, monotonic us. */
static int64_t probe(struct worker *w, size_t publisher)
{
    struct breaker *breaker = &w->relay->publishers[publisher].common->breaker;
    int64_t pause_ms;
    if (suspension_snapshot(&breaker->suspension).paused && !w->relay->stopping &&
        breaker_enter(breaker).wait_ms == 0 &&
        publisher_health_check(w, publisher, IDLE_CHECK_MS, &pause_ms) == OUTBOX_OK)
        suspension_check_ok(&breaker->suspension);
    struct suspension_view view = suspension_snapshot(&breaker->suspension);
    return view.paused ? view.until_us : INT64_MAX;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t idle_serve(struct worker *w)
{
    int64_t again_us = INT64_MAX;
    for (size_t i = 0; i < w->relay->config->n_publishers; i++) {
        again_us = earlier(again_us, keepalive(w, i));
        again_us = earlier(again_us, probe(w, i));
    }
    return again_us;
}

void idle_wait(struct worker *w, int64_t due_us)
{
    struct relay *relay = w->relay;
    int64_t own_us = relay->mode.once ? clock_monotonic_us() + ONCE_US : INT64_MAX;
    own_us = earlier(own_us, idle_serve(w));
    while (outstanding_any(w) && !relay->stopping && !relay->draining) {
        if (outstanding_serve(w, 0))
            return; /* what was given back may be claimed again */
        if (outstanding_wait(w, due_us, own_us) || clock_monotonic_us() >= own_us)
            return;
        due_us = INT64_MAX; /* the wakeup knows it now */
    }
    activity_begin(&w->activity, ACTIVITY_IDLE, ROUTE_NONE);
    wakeup_wait(&relay->wakeup, due_us, own_us);
    current_call_moved();
}
