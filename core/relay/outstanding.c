/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outstanding.c - messages that an asynchronous publisher has and has not answered for. The worker
 * leaves their batch in its slot and goes on with the next one; between batches, and while it is
 * idle, it collects what has come in, settles that, and gives back what is complete.
 *
 * A submitted message and its outcome are the plugin's, so a batch with any stays claimed until
 * they came back: by collect, or because the instance was closed.
 */
#include "base/clock.h"
#include "common/failpoint.h"
#include "relay/worker.h"

#include <outbox/helpers.h>

#include <poll.h>

/* A batch is stayed with until no outcome came for so long, and altogether for so long, ms. */
#define QUIET_MS 20
#define STAY_MS 100
/* A publisher without a descriptor is asked so often; one that is full, too. */
#define ASK_MS 10
#define MAX_FDS 32
/* After a claim failed that was made besides others: with those until then. */
#define NO_MORE_US INT64_C(10000000)

static int64_t now_us(void)
{
    return clock_monotonic_us();
}

bool outstanding_any(const struct worker *w)
{
    for (size_t i = 0; i < w->n_slots; i++)
        if (w->slots[i].batch.n_in_flight > 0)
            return true;
    return false;
}

int64_t outstanding_deadline_us(const struct worker *w)
{
    int64_t first = INT64_MAX;
    for (size_t i = 0; i < w->n_slots; i++) {
        const struct batch *batch = &w->slots[i].batch;
        if (batch->n_in_flight > 0 && batch->deadline_us < first)
            first = batch->deadline_us;
    }
    return first;
}

/* ---- slots ---- */

bool outstanding_choose_slot(struct worker *w)
{
    struct outbox_err err = {.size = sizeof err};
    if (outstanding_any(w) && now_us() < w->no_more_until_us)
        return false;
    for (size_t i = 0; i < w->n_slots; i++) {
        struct slot *slot = &w->slots[i];
        if (slot->batch.claimed)
            continue;
        if (!slot->store.setup.plugin &&
            config_open_store(w->relay->config, &slot->store, w->relay->log, &err) < 0) {
            outstanding_no_more(w, &err);
            return false;
        }
        w->slot = slot;
        return true;
    }
    return false;
}

void outstanding_no_more(struct worker *w, const struct outbox_err *err)
{
    w->no_more_until_us = now_us() + NO_MORE_US;
    log_event(w->relay->log, OUTBOX_LOG_DEBUG,
              "no further batch while messages are in flight: the store takes no claim", "error",
              err->text, NULL);
}

/* ---- what came back ---- */

/* What a call says of the publisher as a whole. Returns for how long it is suspended, ms. */
static int64_t report(struct worker *w, size_t publisher, int r, bool whole_time,
                      const struct outbox_err *err)
{
    struct chunk chunk = {
        .publisher = publisher, .result = r, .whole_time = whole_time, .err = *err};
    return publisher_health_report(w, &chunk);
}

/* Outcomes of one slot. "Silence" is that nothing was answered since the batch was submitted, with
 * all of its time. Who had less of it goes first with another batch. */
static void queue(struct worker *w, struct slot *slot, size_t publisher, size_t n)
{
    struct batch *batch = &slot->batch;
    struct chunk chunk = {
        .publisher = publisher,
        .index = batch->collected,
        .n = n,
        .whole_time = !batch->hurried &&
                      w->relay->publishers[publisher].common->passed_us < batch->submitted_us,
    };
    w->slot = slot;
    int64_t pause_ms = publisher_health_report(w, &chunk);
    for (size_t i = 0; i < n && batch->state < BATCH_LOST; i++)
        if (!settle_queue_outcome(w, chunk.index[i], publisher, &batch->outcomes[chunk.index[i]],
                                  pause_ms) &&
            batch->hurried)
            w->first_publisher = publisher;
    batch_keep_reasons(batch);
}

/* Those of the outcomes that belong to this slot. */
static size_t sort_out(struct batch *batch, struct outbox_outcome *const *outcomes, uint64_t n)
{
    size_t found = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (outcomes[i] < batch->outcomes || outcomes[i] >= batch->outcomes + batch->size)
            continue;
        uint32_t index = (uint32_t)(outcomes[i] - batch->outcomes);
        batch->collected[found++] = index;
        batch->in_flight[index] = 0;
    }
    batch->n_in_flight -= found;
    return found;
}

/* Closes the instance: what it still had is sent again, uncharged. */
static void take_back(struct worker *w, size_t publisher)
{
    publisher_close_instance(w->publishers[publisher]);
    for (size_t k = 0; k < w->n_slots; k++) {
        struct batch *batch = &w->slots[k].batch;
        for (uint32_t i = 0; batch->n_in_flight > 0 && i < batch->claimed->n; i++)
            if (batch->in_flight[i] && batch->publisher[i] == publisher) {
                batch->in_flight[i] = 0;
                batch->n_in_flight--;
            }
    }
}

/* False: nothing came. */
static bool collect_from(struct worker *w, size_t publisher, int64_t ms)
{
    struct outbox_call call = store_call(ms, w->relay->stopping ? -1 : w->relay->stop_fd);
    struct outbox_err err = {.size = sizeof err};
    struct outbox_outcome *const *outcomes;
    uint64_t n;
    int r = publisher_collect(w->publishers[publisher], &call, &outcomes, &n, &err);
    if (n > 0)
        failpoint("after_confirm");
    for (size_t k = 0; k < w->n_slots && n > 0; k++) {
        size_t found = sort_out(&w->slots[k].batch, outcomes, n);
        if (found > 0)
            queue(w, &w->slots[k], publisher, found);
    }
    if (r == OUTBOX_E_BROKEN)
        take_back(w, publisher);
    if (r < 0 && r != OUTBOX_E_TIMEOUT && r != OUTBOX_E_CANCELLED &&
        !suspension_snapshot(&w->relay->publishers[publisher].common->breaker.suspension).paused)
        report(w, publisher, r, false, &err);
    return n > 0;
}

/* A plugin that keeps messages past their time gives them back by being closed. */
static void give_up_overdue(struct worker *w)
{
    struct outbox_err err = {.size = sizeof err};
    for (size_t k = 0; k < w->n_slots; k++) {
        struct batch *batch = &w->slots[k].batch;
        if (batch->n_in_flight == 0 || now_us() < batch->expected_us + PUBLISHER_LATE_MS * 1000)
            continue;
        for (uint32_t i = 0; batch->n_in_flight > 0 && i < batch->claimed->n; i++)
            if (batch->in_flight[i]) {
                size_t publisher = batch->publisher[i];
                int r = publisher_holds_on(w->publishers[publisher], &err);
                take_back(w, publisher);
                report(w, publisher, r, false, &err);
            }
    }
}

/* ---- waiting ---- */

static void pause_ms(const struct worker *w, int ms)
{
    struct pollfd stop = {.fd = w->relay->stop_fd, .events = POLLIN};
    poll(&stop, w->relay->stopping ? 0 : 1, ms);
}

static bool has_some(const struct worker *w, size_t publisher)
{
    return w->publishers[publisher]->in_flight.n > 0;
}

static const struct batch *oldest_batch(const struct worker *w)
{
    const struct batch *oldest = NULL;
    for (size_t k = 0; k < w->n_slots; k++) {
        const struct batch *batch = &w->slots[k].batch;
        if (batch->n_in_flight > 0 && (!oldest || batch->submitted_us < oldest->submitted_us))
            oldest = batch;
    }
    return oldest;
}

/* What the worker waits for longest becomes its activity. */
static void tell_activity(struct worker *w)
{
    const struct batch *oldest = oldest_batch(w);
    for (uint32_t i = 0; oldest && i < oldest->claimed->n; i++)
        if (oldest->in_flight[i]) {
            activity_wait(&w->activity, oldest->publisher[i], oldest->submitted_us);
            return;
        }
}

static bool any_ready(const struct pollfd *fds, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (fds[i].revents)
            return true;
    return false;
}

/* Descriptors by which publishers tell that something came in, from fds[1] on. */
struct ready {
    struct pollfd fds[MAX_FDS];
    size_t n;
    size_t n_publishers; /* that have something in flight */
    size_t silent;       /* one that has no descriptor; ROUTE_NONE: all have */
};

static void look_for_ready(const struct worker *w, struct ready *ret)
{
    ret->n = 1;
    ret->n_publishers = 0;
    ret->silent = ROUTE_NONE;
    for (size_t i = 0; i < w->relay->config->n_publishers; i++) {
        if (!has_some(w, i))
            continue;
        int fd = publisher_ready_fd(w->publishers[i]);
        ret->n_publishers++;
        if (fd >= 0 && ret->n < MAX_FDS)
            ret->fds[ret->n++] = (struct pollfd){.fd = fd, .events = POLLIN};
        else
            ret->silent = i;
    }
}

/* Until something may have come in, ms are over, or the relay stops. A publisher that is alone, and
 * has no descriptor, waits itself. */
static void wait_for_any(struct worker *w, int64_t ms)
{
    struct ready ready;
    int64_t began_us = now_us();
    tell_activity(w);
    look_for_ready(w, &ready);
    bool asks = ready.silent != ROUTE_NONE;
    if (asks && ready.n_publishers == 1 &&
        (collect_from(w, ready.silent, ms) || now_us() - began_us >= 1000))
        return;
    ready.fds[0] =
        (struct pollfd){.fd = w->relay->stopping ? -1 : w->relay->stop_fd, .events = POLLIN};
    if (poll(ready.fds, ready.n, (int)(asks && ms > ASK_MS ? ASK_MS : ms)) > 0)
        w->was_ready = any_ready(ready.fds, ready.n);
}

bool outstanding_wait(struct worker *w, int64_t due_us, int64_t own_us)
{
    struct ready ready;
    tell_activity(w);
    look_for_ready(w, &ready);
    int64_t late_us = ready.silent != ROUTE_NONE ? now_us() + ASK_MS * 1000 : INT64_MAX;
    for (size_t k = 0; k < w->n_slots; k++) {
        const struct batch *batch = &w->slots[k].batch;
        int64_t us = batch->expected_us + PUBLISHER_LATE_MS * 1000;
        if (batch->n_in_flight > 0 && us < late_us)
            late_us = us;
    }
    for (size_t i = 0; i < ready.n; i++)
        ready.fds[i].revents = 0;
    bool news = wakeup_poll(&w->relay->wakeup, due_us, late_us < own_us ? late_us : own_us,
                            ready.fds, ready.n);
    w->was_ready = any_ready(ready.fds, ready.n);
    return news;
}

static void collect(struct worker *w, int64_t wait_ms)
{
    struct slot *slot = w->slot;
    if (!outstanding_any(w))
        return;
    if (wait_ms > 0)
        wait_for_any(w, wait_ms);
    bool came = false;
    for (size_t i = 0; i < w->relay->config->n_publishers; i++)
        if (has_some(w, i))
            came |= collect_from(w, i, 0);
    if (w->was_ready && !came) /* a descriptor that says so, and is wrong */
        pause_ms(w, ASK_MS);
    w->was_ready = false;
    give_up_overdue(w);
    w->slot = slot;
}

/* ---- for the worker ---- */

bool outstanding_serve(struct worker *w, int64_t wait_ms)
{
    struct slot *slot = w->slot;
    bool finished = false;
    collect(w, wait_ms);
    for (size_t k = 0; k < w->n_slots; k++) {
        struct batch *batch = &w->slots[k].batch;
        w->slot = &w->slots[k];
        bool complete = batch->left && batch->n_in_flight == 0;
        if (complete)
            worker_finish(w, batch->state);
        else if (batch->n_items > 0)
            batch_raise(batch, settle_part(w));
        w->gave_up |= batch->state == BATCH_UNSETTLED;
        finished |= complete;
    }
    w->slot = slot;
    return finished;
}

void outstanding_stay(struct worker *w)
{
    const struct batch *batch = &w->slot->batch;
    int64_t now = now_us(), end_us = now + STAY_MS * 1000, quiet_us = now + QUIET_MS * 1000;
    while (batch->n_in_flight > 0 && now < end_us && now < quiet_us && !w->relay->stopping) {
        size_t before = batch->n_in_flight;
        collect(w, ((end_us < quiet_us ? end_us : quiet_us) - now) / 1000 + 1);
        now = now_us();
        if (batch->n_in_flight < before)
            quiet_us = now + QUIET_MS * 1000;
    }
}

void outstanding_await(struct worker *w, size_t publisher)
{
    while (has_some(w, publisher) && !w->relay->stopping)
        outstanding_serve(w, STAY_MS);
}

void outstanding_end(struct worker *w)
{
    int64_t kept_us = w->relay->config->shutdown_timeout_ms / 4 * 1000;
    while (outstanding_any(w) && now_us() < w->relay->deadline_us - kept_us)
        outstanding_serve(w, ASK_MS);
    for (size_t i = 0; i < w->relay->config->n_publishers; i++)
        if (has_some(w, i))
            take_back(w, i);
    outstanding_serve(w, 0);
}

int64_t outstanding_submit(struct worker *w, struct chunk *chunk)
{
    struct batch *batch = &w->slot->batch;
    struct outbox_call call = store_call(chunk->timeout_ms, w->relay->stop_fd);
    int64_t now = now_us(), until_us = now + chunk->timeout_ms * 1000;
    int64_t suspended_ms = 0;
    uint64_t took = 0;
    activity_begin(&w->activity, ACTIVITY_PUBLISHING, chunk->publisher);
    call.grace_ms = (uint32_t)(w->relay->config->shutdown_timeout_ms / 4 * 3);
    chunk->err = (struct outbox_err){.size = sizeof chunk->err};
    for (size_t i = 0; i < chunk->n; i++) {
        batch->msgs[i] = batch->claimed->messages[chunk->index[i]];
        batch->outcome_ptrs[i] = &batch->outcomes[chunk->index[i]];
    }
    chunk->result = publisher_submit(w->publishers[chunk->publisher], batch->msgs, chunk->n, &call,
                                     batch->outcome_ptrs, &took, &chunk->err);
    for (size_t i = 0; i < took; i++)
        batch->in_flight[chunk->index[i]] = 1;
    batch->n_in_flight += (size_t)took;
    batch->submitted_us = batch->submitted_us ? batch->submitted_us : now;
    batch->expected_us = batch->expected_us > until_us ? batch->expected_us : until_us;
    if (chunk->result == OUTBOX_E_BROKEN)
        take_back(w, chunk->publisher);
    if (chunk->result < 0)
        suspended_ms =
            report(w, chunk->publisher, chunk->result, took == 0 && chunk->whole_time, &chunk->err);
    if (took < chunk->n && suspended_ms == 0 && outstanding_any(w))
        outstanding_serve(w, ASK_MS);
    else if (took < chunk->n && suspended_ms == 0)
        pause_ms(w, ASK_MS); /* it is full of what others have submitted */
    chunk->n = (size_t)took;
    return suspended_ms;
}
