/* SPDX-License-Identifier: Apache-2.0 */
/* idle.c - what publishers need while there is nothing to publish. */
#include "relay/context.h"

#include "base/clock.h"

#include <outbox/helpers.h>

/* An idle worker must not be held up for long by somebody who does not answer. */
#define CHECK_MS 2000

static bool wants_tending(const struct instance *instance)
{
    const struct outbox_publisher_ops *ops = &instance->plugin->ops.publisher;
    return instance->self && ops->keepalive && ops->capabilities &&
           (ops->capabilities(instance->self) & OUTBOX_PUB_KEEPALIVE);
}

/* When it wants to be called again, monotonic us. */
static int64_t tend(struct worker *w, size_t publisher)
{
    struct instance *instance = &w->publishers[publisher];
    struct outbox_keepalive tending = {.size = sizeof tending};
    struct outbox_err err = {.size = sizeof err};
    if (!wants_tending(instance))
        return INT64_MAX;
    int r = instance->plugin->ops.publisher.keepalive(instance->self, &tending, &err);
    if (r == OUTBOX_OK && tending.verdict == OUTBOX_UNAVAILABLE)
        publisher_failed(w, publisher, 0, 0, tending.reason);
    if (r == OUTBOX_E_BROKEN)
        instance_close(instance);
    return r == OUTBOX_E_BROKEN || tending.again_ms == 0
               ? INT64_MAX
               : clock_monotonic_us() + (int64_t)tending.again_ms * 1000;
}

/* Without messages nothing else would find out that it is back. The first one is a probe still. */
static void look_after(struct worker *w, size_t publisher)
{
    struct breaker *breaker = &w->relay->publishers[publisher].breaker;
    struct outbox_err err = {.size = sizeof err};
    struct suspension_view view = suspension_snapshot(&breaker->pause);
    if (!view.paused || relay_stopping(w->relay))
        return;
    struct breaker_pass pass = breaker_enter(breaker);
    if (pass.wait_ms > 0)
        return;
    int r = publisher_check(w, publisher, CHECK_MS, &err);
    if (r == OUTBOX_OK)
        publisher_asked(w, publisher);
    else if (r == OUTBOX_E_CANCELLED)
        breaker_unknown(breaker);
    else
        publisher_failed(w, publisher, 0, 0, outbox_cstr(err.text));
}

int64_t worker_tend(struct worker *w)
{
    int64_t again_us = INT64_MAX;
    for (size_t i = 0; i < w->relay->config->n_publishers; i++) {
        int64_t again = tend(w, i);
        again_us = again < again_us ? again : again_us;
        look_after(w, i);
        struct suspension_view view = suspension_snapshot(&w->relay->publishers[i].breaker.pause);
        if (view.paused && view.until_us < again_us)
            again_us = view.until_us;
    }
    return again_us;
}
