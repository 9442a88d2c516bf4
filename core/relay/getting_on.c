/* SPDX-License-Identifier: Apache-2.0 */
/* getting_on.c - is every thread of a relay alive? For the service manager's watchdog, which ends
 * the process when one is not: so no outage of a store or a publisher may look like that. */
#include "base/clock.h"
#include "relay/worker.h"

#include <stdio.h>

/* A janitor begins its round about every two seconds; between two calls it waits for less. */
#define JANITOR_STILL_US INT64_C(60000000)
/* A worker that has something to do waits between two calls at most for what is in flight, or for
 * the longest pause that a publisher may ask for. */
#define WORKER_PAUSE_US (BREAKER_PAUSE_ASKED_MAX_MS * INT64_C(1000))

/* `own_us`: for how long the thread may do without a call, beside the slack; INT64_MAX: for ever.
 */
static bool is_alive(const char *who, struct current_call *call, int64_t own_us, int64_t slack_us,
                     char *why, size_t cap)
{
    char what[200];
    int64_t still_us = current_call_still_us(call, what, sizeof what) - slack_us;
    if (still_us < 0 || (what[0] == '\0' && still_us < own_us))
        return true;
    long long seconds = (still_us + slack_us) / 1000000;
    if (what[0] != '\0')
        snprintf(why, cap, "%s is in %s, for %lld s longer than its time-out", who, what, seconds);
    else
        snprintf(why, cap, "%s has not got on for %lld s", who, seconds);
    return false;
}

static bool worker_is_alive(struct worker *w, int64_t slack_us, char *why, size_t cap)
{
    struct activity_view view = activity_snapshot(&w->activity);
    char who[40];
    int64_t own_us = w->relay->hold_ms * 1000 + WORKER_PAUSE_US;
    snprintf(who, sizeof who, "worker %zu", (size_t)(w - w->relay->workers) + 1);
    return w->ended || is_alive(who, &w->call, view.step == ACTIVITY_IDLE ? INT64_MAX : own_us,
                                slack_us, why, cap);
}

bool relay_gets_on(struct relay *relay, int64_t slack_us, char *why, size_t cap)
{
    for (size_t i = 0; i < relay->config->workers; i++)
        if (!worker_is_alive(&relay->workers[i], slack_us, why, cap))
            return false;
    return is_alive("the janitor", &relay->janitor_call, JANITOR_STILL_US, slack_us, why, cap) &&
           is_alive("the watcher", &relay->watcher_call, INT64_MAX, slack_us, why, cap);
}
