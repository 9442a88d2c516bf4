/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "relay/worker.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define LOOK_MS 1000
#define TELL_AGAIN_US INT64_C(55000000)

/* Appends what a stalled worker does; false: it is not stalled. */
static bool add_stalled(struct worker *w, size_t i, int64_t now_us, char *text, size_t cap)
{
    struct activity_view view = activity_snapshot(&w->activity);
    size_t n = strlen(text);
    if (!activity_is_stalled(&view, now_us))
        return false;
    snprintf(text + n, cap - n, "%sworker %zu %s", n > 0 ? ", " : "", i + 1,
             activity_verb(view.step));
    n = strlen(text);
    if (activity_has_publisher(view.step))
        snprintf(text + n, cap - n, " %s", w->relay->config->publishers[view.publisher].name);
    n = strlen(text);
    snprintf(text + n, cap - n, " since %lld s", (long long)((now_us - view.since_us) / 1000000));
    return true;
}

static void remind(struct relay *relay, struct suspension *suspension, const char *text,
                   const char *publisher)
{
    if (suspension_remind(suspension))
        log_event(relay->log, OUTBOX_LOG_WARNING, text, publisher ? "publisher" : "error",
                  publisher ? publisher : suspension_snapshot(suspension).reason,
                  publisher ? "reason" : NULL, suspension_snapshot(suspension).reason, NULL);
}

/* What messages wait for is told each minute, as long as they wait. */
static void remind_of_outages(struct relay *relay)
{
    remind(relay, &relay->store_suspension, "the store is still unavailable", NULL);
    remind(relay, &relay->settle_suspension, "still nothing is published, since no settle passes",
           NULL);
    for (size_t i = 0; i < relay->config->n_publishers; i++) {
        struct publisher_state *state = &relay->publishers[i];
        if (state->common->awaited)
            remind(relay, &state->common->breaker.suspension, "publisher is still unavailable",
                   state->config->name);
    }
}

/* A worker that has something to do, and got nothing done for a minute, is told each minute. */
static void look(struct relay *relay, int64_t *told_us)
{
    int64_t now_us = clock_monotonic_us();
    int64_t done_us = relay->done.us > relay->began_us ? relay->done.us : relay->began_us;
    char text[400] = "";
    bool stalled = false;
    for (size_t i = 0; i < relay->config->workers; i++)
        stalled |= add_stalled(&relay->workers[i], i, now_us, text, sizeof text);
    if (stalled && now_us - *told_us >= TELL_AGAIN_US) {
        *told_us = now_us;
        log_event(relay->log, OUTBOX_LOG_WARNING,
                  "some messages are claimed or due, and get no further", "waits_for", text,
                  "seconds_since_any_was_settled", LOG_NUM((now_us - done_us) / 1000000), NULL);
    }
    remind_of_outages(relay);
}

/* A call that is late while this thread was late, too, tells of the machine, not of the plugin. */
static void watch_calls(struct relay *relay, int64_t *looked_us)
{
    int64_t now_us = clock_monotonic_us(), before_us = *looked_us;
    *looked_us = now_us;
    if (now_us - before_us > 2000 * LOOK_MS)
        return;
    for (size_t i = 0; i < relay->config->workers; i++)
        current_call_watch(&relay->workers[i].call);
    current_call_watch(&relay->janitor_call);
    current_call_watch(&relay->watcher_call);
}

void *watchdog_main(void *arg)
{
    struct relay *relay = arg;
    struct pollfd quit = {.fd = relay->quit_fd, .events = POLLIN};
    int64_t told_us = INT64_MIN / 2, looked_us = clock_monotonic_us();
    struct current_call none; /* a thread without one is taken for a plugin's */
    current_call_init(&none);
    current_call_adopt(&none, true);
    while (poll(&quit, 1, LOOK_MS) == 0) {
        look(relay, &told_us);
        watch_calls(relay, &looked_us);
    }
    current_call_destroy(&none);
    context_thread_ended(relay);
    return NULL;
}
