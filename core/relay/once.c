/* SPDX-License-Identifier: Apache-2.0 */
/* once.c - when `run --once` is over. */
#include "base/clock.h"
#include "relay/worker.h"

/* A message that waits for its publisher is looked for this long after it should be due. */
#define DUE_SLACK_US 100000

static bool is_overdue(struct relay *relay, struct suspension *suspension, const char *kind,
                       const char *name)
{
    struct suspension_view view = suspension_snapshot(suspension);
    int64_t us = clock_monotonic_us() - view.began_us;
    if (!view.paused || us < relay->mode.wait_ms * 1000)
        return false;
    context_remember_outage(relay, "%s%s was unavailable for %.1f s: %s", kind, name,
                            (double)us / 1e6, view.reason);
    return true;
}

/* The store or a publisher was unavailable for longer than `run --once` was to wait. */
static bool timed_out(struct relay *relay)
{
    bool late = is_overdue(relay, &relay->store_suspension, "the store", "") ||
                is_overdue(relay, &relay->settle_suspension, "the store", "'s settling");
    for (size_t i = 0; i < relay->config->n_publishers; i++)
        late |= is_overdue(relay, &relay->publishers[i].common->breaker.suspension, "publisher ",
                           relay->config->publishers[i].name);
    return late;
}

static bool waits_for_a_publisher(struct relay *relay)
{
    bool waits = clock_monotonic_us() < relay->deferred_until_us + DUE_SLACK_US;
    for (size_t i = 0; i < relay->config->n_publishers; i++)
        waits |= suspension_snapshot(&relay->publishers[i].common->breaker.suspension).paused;
    return waits;
}

/* The last worker looks after what is left; the others end. */
static bool is_last(struct worker *w)
{
    if (!w->once_last)
        w->once_last = atomic_fetch_sub(&w->relay->once_workers, 1) == 1;
    return w->once_last;
}

/*
 * Within the time that was to be waited since something was done last. What is due and was not
 * claimed belongs to another relay, which may have died, or to a lock in the database: it may be
 * free soon. Rows in a lane never are.
 */
static bool more_may_be_due(struct worker *w, int64_t due_us)
{
    struct relay *relay = w->relay;
    struct outbox_stats stats = {.size = sizeof stats};
    struct outbox_call call = store_call(STORE_CALL_MS, relay->stop_fd);
    int64_t last_us = relay->done.us > relay->began_us ? relay->done.us : relay->began_us;
    int64_t until_us = last_us + relay->mode.wait_ms * 1000;
    if (clock_monotonic_us() >= until_us)
        return false;
    return due_us < until_us || (store_stats(&w->slot->store, (struct outbox_str){NULL, 0}, 0,
                                             &call, &stats, NULL) == 0 &&
                                 stats.pending + stats.processing > stats.parked);
}

bool once_is_over(struct worker *w, bool claimed, int64_t due_us)
{
    if (timed_out(w->relay))
        return true;
    if (!claimed || waits_for_a_publisher(w->relay))
        return false;
    return !is_last(w) || !more_may_be_due(w, due_us);
}
