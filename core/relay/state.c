/* SPDX-License-Identifier: Apache-2.0 */
#include "relay/state.h"

#include "base/clock.h"
#include "common/message_json.h"
#include "common/rfc3339.h"
#include "common/utf8.h"
#include "policy/relay_state.h"
#include "relay/worker.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <string.h>

/* What something waits for; `what` empty: for nothing. */
struct wait {
    char what[400];
    int64_t since_us; /* wall clock; 0: not known */
};

static bool add_text(struct json_object *object, const char *name, const char *text)
{
    return json_add_text(object, name, outbox_cstr(text && *text ? text : NULL)) == 0;
}

/* ---- what is waited for ---- */

static bool is_paused(struct suspension *suspension, const char *what, struct wait *ret)
{
    struct suspension_view view = suspension_snapshot(suspension);
    if (!view.paused)
        return false;
    snprintf(ret->what, sizeof ret->what, "%s: %s", what, view.reason);
    ret->since_us = view.since_us;
    return true;
}

/* What holds up all workers. */
static bool is_held_up(struct relay *relay, struct wait *ret)
{
    return is_paused(&relay->store_suspension, "the store is unavailable", ret) ||
           is_paused(&relay->settle_suspension, "paused, because messages cannot be settled", ret);
}

static bool calls_publisher(const struct activity_view *view)
{
    return activity_has_publisher(view->step);
}

static bool worker_waits(struct relay *relay, size_t i, struct wait *ret)
{
    struct activity_view view = activity_snapshot(&relay->workers[i].activity);
    int64_t now_us = clock_monotonic_us();
    if (activity_is_slow(&view, now_us)) {
        snprintf(ret->what, sizeof ret->what, "worker %zu %s%s%s", i + 1, activity_verb(view.step),
                 calls_publisher(&view) ? " " : "",
                 calls_publisher(&view) ? relay->config->publishers[view.publisher].name : "");
        ret->since_us = view.since_wall_us;
        return true;
    }
    snprintf(ret->what, sizeof ret->what, "worker %zu gets nothing settled", i + 1);
    ret->since_us = view.moved_wall_us;
    return activity_is_stalled(&view, now_us);
}

/* A call that lasts for long, while no outcome of this publisher was settled. */
static bool publisher_waits(struct relay *relay, size_t publisher, struct wait *ret)
{
    int64_t now_us = clock_monotonic_us();
    for (size_t i = 0; i < relay->config->workers; i++) {
        struct activity_view view = activity_snapshot(&relay->workers[i].activity);
        if (calls_publisher(&view) && view.publisher == publisher &&
            activity_is_slow(&view, now_us) &&
            view.since_us > relay->publishers[publisher].common->done.us)
            return worker_waits(relay, i, ret);
    }
    return is_held_up(relay, ret);
}

static bool add_wait(struct json_object *waits, const struct wait *wait)
{
    struct json_object *object = json_object_new_object();
    if (object && add_text(object, "what", wait->what) &&
        json_add_time(object, "since", wait->since_us) == 0 &&
        json_object_array_add(waits, object) == 0)
        return true;
    json_object_put(object);
    return false;
}

static bool publisher_is_paused(struct relay *relay, size_t i, struct wait *ret)
{
    struct publisher_state *publisher = &relay->publishers[i];
    char what[128];
    snprintf(what, sizeof what, "publisher %s is unavailable", publisher->config->name);
    return is_paused(&publisher->common->breaker.suspension, what, ret);
}

static bool add_waits(struct relay *relay, struct json_object *state)
{
    struct json_object *waits = json_object_new_array();
    struct wait wait;
    bool complete = waits && json_object_object_add(state, "waits_for", waits) == 0;
    if (complete && is_held_up(relay, &wait))
        complete = add_wait(waits, &wait);
    for (size_t i = 0; complete && i < relay->config->workers; i++)
        if (worker_waits(relay, i, &wait))
            complete = add_wait(waits, &wait);
    for (size_t i = 0; complete && i < relay->config->n_publishers; i++)
        if (relay->publishers[i].common->awaited && publisher_is_paused(relay, i, &wait))
            complete = add_wait(waits, &wait);
    return complete && add_text(state, "state",
                                json_object_array_length(waits) > 0 ? "waiting"
                                : relay->draining                   ? "ending"
                                                                    : "ready");
}

/* One line, whatever a reason is made of. */
static void append_wait(const struct wait *wait, char *text, size_t cap)
{
    char since[RFC3339_SIZE];
    size_t n = strlen(text);
    n += (size_t)snprintf(text + n, cap - n, "%s", n > 0 ? "; " : "");
    if (n >= cap)
        return;
    n += utf8_printable(wait->what, strlen(wait->what), text + n, cap - n);
    if (wait->since_us)
        snprintf(text + n, cap - n, ", since %.19sZ", rfc3339_format(wait->since_us, since));
}

/* Of a publisher also when no message waits for it. */
void relay_describe_waits(struct relay *relay, char *text, size_t cap)
{
    struct wait wait;
    text[0] = '\0';
    if (is_held_up(relay, &wait))
        append_wait(&wait, text, cap);
    for (size_t i = 0; i < relay->config->n_publishers; i++)
        if (publisher_is_paused(relay, i, &wait))
            append_wait(&wait, text, cap);
    for (size_t i = 0; i < relay->config->workers; i++)
        if (worker_waits(relay, i, &wait))
            append_wait(&wait, text, cap);
}

/* ---- the parts ---- */

static bool add_publisher(struct relay *relay, size_t i, struct json_object *all)
{
    struct publisher_state *publisher = &relay->publishers[i];
    struct suspension_view view = suspension_snapshot(&publisher->common->breaker.suspension);
    struct json_object *object = relay_state_add(all, publisher->config->name);
    struct wait wait = {.since_us = 0};
    const char *state = view.probing ? "probing" : view.paused ? "paused" : "ready";
    if (view.paused) {
        snprintf(wait.what, sizeof wait.what, "%s", view.reason);
        wait.since_us = view.since_us;
    } else if (publisher_waits(relay, i, &wait)) {
        state = "waiting";
    }
    return object && add_text(object, "state", state) &&
           json_add_time(object, "since", wait.since_us) == 0 &&
           add_text(object, "reason", wait.what) &&
           json_add_time(object, "progress_at", publisher->common->done.wall_us) == 0 &&
           json_add_int(object, "accepted", (int64_t)publisher->common->accepted) == 0 &&
           json_add_int(object, "retried", (int64_t)publisher->common->retried) == 0 &&
           json_add_int(object, "failed", (int64_t)publisher->common->failed) == 0;
}

static bool add_worker(struct relay *relay, size_t i, struct json_object *all)
{
    struct activity_view view = activity_snapshot(&relay->workers[i].activity);
    bool slow = activity_is_slow(&view, clock_monotonic_us());
    struct json_object *object = json_object_new_object();
    if (object && add_text(object, "does", activity_name(view.step)) &&
        add_text(object, "publisher",
                 calls_publisher(&view) ? relay->config->publishers[view.publisher].name : NULL) &&
        json_add_time(object, "since", slow ? view.since_wall_us : 0) == 0 &&
        json_add_time(object, "progress_at", view.moved_wall_us) == 0 &&
        json_object_array_add(all, object) == 0)
        return true;
    json_object_put(object);
    return false;
}

static bool add_waking(struct relay *relay, struct json_object *state)
{
    struct json_object *waking = relay_state_add(state, "waking");
    pthread_mutex_lock(&relay->waking_lock);
    bool complete = waking && add_text(waking, "by", relay->waking_by) &&
                    add_text(waking, "reason", relay->waking_reason);
    pthread_mutex_unlock(&relay->waking_lock);
    return complete;
}

static bool add_quarantine(struct relay *relay, struct json_object *state)
{
    char reason[256] = "";
    uint32_t n = 0;
    for (size_t i = 0; i < relay->config->workers; i++)
        quarantine_gauge_max(&relay->workers[i].quarantine, &n, reason, sizeof reason);
    return json_add_int(state, "quarantined", n) == 0 &&
           add_text(state, "quarantine_reason", reason);
}

struct json_object *state_new(struct relay *relay)
{
    struct json_object *state = json_object_new_object();
    struct json_object *publishers = relay_state_add(state, "publishers");
    struct json_object *workers = json_object_new_array();
    bool complete = publishers && workers && json_object_object_add(state, "workers", workers) == 0;
    for (size_t i = 0; complete && i < relay->config->n_publishers; i++)
        complete = add_publisher(relay, i, publishers);
    for (size_t i = 0; complete && i < relay->config->workers; i++)
        complete = add_worker(relay, i, workers);
    if (complete && add_waits(relay, state) &&
        json_add_time(state, "progress_at", relay->done.wall_us) == 0 && add_waking(relay, state) &&
        add_quarantine(relay, state) &&
        json_add_int(state, "unrouted", (int64_t)unrouted_gauge_snapshot(&relay->unrouted)) == 0 &&
        json_add_int(state, "stale", (int64_t)relay->stale) == 0 &&
        poison_add_state(&relay->lineage->poison, state) == 0 &&
        lineage_add_state(relay->lineage, state) == 0)
        return state;
    json_object_put(state);
    return NULL;
}
