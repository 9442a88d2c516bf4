/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "common/utf8.h"
#include "relay/context.h"

#include <poll.h>
#include <string.h>

/* A store that cannot wait now is asked again after this long; workers poll meanwhile. */
#define WATCH_AGAIN_MS 1000
#define WATCH_CALL_MS 60000
/* All workers are busy for longer than a few messages take. */
#define BUSY_US 50000

/* `why` NULL: the store can wait. Else workers poll, which is told again and again. */
static void set_waking(struct relay *relay, struct reminder *reminder, const char *why)
{
    pthread_mutex_lock(&relay->waking_lock);
    relay->waking_by = why ? "polling" : "news";
    utf8_clean(why ? why : "", why ? strlen(why) : 0, relay->waking_reason,
               sizeof relay->waking_reason);
    pthread_mutex_unlock(&relay->waking_lock);
    if (!why)
        *reminder = (struct reminder){0};
    else if (reminder_is_due(reminder, clock_monotonic_us()))
        log_event(relay->log, OUTBOX_LOG_WARNING,
                  "the store cannot wait for news: messages wait for the next poll", "error", why,
                  NULL);
}

/* While no worker is idle none has to be woken, and the store is to stop its notifications, which
 * may cost producers time. */
static void await_idle(struct relay *relay)
{
    struct outbox_call call = store_call(STORE_CALL_MS, relay->quit_fd);
    if (wakeup_await_idle(&relay->wakeup, clock_monotonic_us() + BUSY_US))
        return;
    store_wait_stop(&relay->watcher_store, &call, NULL);
    wakeup_await_idle(&relay->wakeup, INT64_MAX);
}

void *watcher_main(void *arg)
{
    struct relay *relay = arg;
    struct pollfd quit = {.fd = relay->quit_fd, .events = POLLIN};
    struct outbox_err err = {.size = sizeof err};
    struct reminder reminder = {0};
    current_call_adopt(&relay->watcher_call, true);
    for (;;) {
        await_idle(relay);
        if (poll(&quit, 1, 0) != 0)
            break;
        struct outbox_call call = store_call(WATCH_CALL_MS, relay->quit_fd);
        int r = store_wait(&relay->watcher_store, &call, &err);
        if (r != OUTBOX_E_CANCELLED)
            set_waking(relay, &reminder, r < 0 && r != OUTBOX_E_TIMEOUT ? err.text : NULL);
        if (r == OUTBOX_OK)
            wakeup_signal(&relay->wakeup);
        else if (r != OUTBOX_E_TIMEOUT)
            poll(&quit, 1, WATCH_AGAIN_MS);
    }
    context_thread_ended(relay);
    return NULL;
}
