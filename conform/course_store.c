/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/course.h"

#include "conform/kit.h"
#include "plugin/instance.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <unistd.h>

#define GRACE_MS 200
#define LONG_MS 15000

struct driver {
    struct course *course;
    struct instance instance;
    const struct outbox_store_ops *ops;
    bool released; /* it has said so of a batch */
    bool broken; /* it said so itself, or the layer did: it may hold a batch that we do not have */
    struct outbox_err err;
};

/* One call: times it, and remembers the first one that failed. */
#define DO(d, operation, ms, ...)                                        \
    (course_enter((d)->course, #operation, ms), (d)->err.text[0] = '\0', \
     judge(d, #operation, (d)->ops->operation((d)->instance.self, __VA_ARGS__, &(d)->err)))

static int judge(struct driver *d, const char *operation, int r)
{
    course_leave(d->course);
    if (r != OUTBOX_OK && r != OUTBOX_E_TIMEOUT && r != OUTBOX_E_CANCELLED && r != OUTBOX_E_NOTSUP)
        course_trouble(d->course, "%s returned %d: %s", operation, r, d->err.text);
    return r;
}

static struct outbox_call call_of(uint32_t ms, int cancel_fd)
{
    return (struct outbox_call){sizeof(struct outbox_call), ms, cancel_fd, GRACE_MS};
}

static void save(struct driver *d, uint32_t n)
{
    const struct outbox_call call = call_of(LONG_MS, -1);
    for (uint32_t i = 0; d->ops->save && i < n; i++) {
        struct outbox_new row = {.size = sizeof row,
                                 .topic = outbox_cstr("course"),
                                 .key = outbox_cstr(i % 2 ? "key" : ""),
                                 .payload = outbox_cstr("payload")};
        const struct outbox_new *rows[] = {&row};
        DO(d, save, LONG_MS, rows, 1, NULL, &call);
    }
}

static struct outbox_batch *claim(struct driver *d, uint32_t limit, const struct outbox_call *call)
{
    struct outbox_batch *batch = NULL;
    const struct outbox_claim what = {.size = sizeof what,
                                      .limit = limit,
                                      .lease_ms = 60000,
                                      .max_bytes = 64 << 20,
                                      .max_message = 64 << 20,
                                      .relay = outbox_cstr("00000000-0000-4000-8000-00000000c0de"),
                                      .max_headers = 1000,
                                      .max_header_bytes = 256 << 10};
    int r = DO(d, claim, call->timeout_ms, &what, call, &batch);
    d->broken |= r == OUTBOX_E_BROKEN;
    if (r == OUTBOX_E_CONFIG && d->released && !d->broken) /* an outage is OUTBOX_E_RETRY */
        course_report(d->course, "forgets-release", "after a release, claim returned %d: %s", r,
                      d->err.text);
    return r == OUTBOX_OK ? batch : NULL;
}

static void release(struct driver *d, struct outbox_batch *batch)
{
    const struct outbox_call call = call_of(LONG_MS, -1);
    d->released |= DO(d, release, LONG_MS, batch, &call) == OUTBOX_OK;
}

/* Settles it in several ways, or all as done and deleted. */
static void settle(struct driver *d, struct outbox_batch *batch, bool away)
{
    static const uint32_t actions[] = {OUTBOX_SETTLE_DONE, OUTBOX_SETTLE_RETRY,
                                       OUTBOX_SETTLE_FAILED};
    const struct outbox_call call = call_of(LONG_MS, -1);
    struct outbox_settle items[100];
    const struct outbox_settle *pointers[100];
    uint8_t settled[101];
    for (uint32_t i = 0; i < batch->n; i++) {
        uint32_t action = away ? OUTBOX_SETTLE_DONE : actions[i % 3];
        items[i] = (struct outbox_settle){
            .size = sizeof items[i],
            .index = i,
            .action = action,
            .flags = action == OUTBOX_SETTLE_DONE ? OUTBOX_SETTLE_DELETE : OUTBOX_SETTLE_REASON,
            .reason = outbox_cstr("the course says so"),
            .refused_action = OUTBOX_SETTLE_RETRY};
        pointers[i] = &items[i];
    }
    if (batch->n > 0 &&
        DO(d, settle, LONG_MS, batch, pointers, batch->n, &call, settled) == OUTBOX_OK)
        d->course->worked += batch->n;
}

/* Some messages, given back unsettled, or settled as done; how many. */
static uint32_t take(struct driver *d, uint32_t limit, bool done)
{
    const struct outbox_call call = call_of(LONG_MS, -1);
    struct outbox_batch *batch = claim(d, limit, &call);
    uint32_t n = batch ? batch->n : 0;
    if (batch && done)
        settle(d, batch, true);
    if (batch)
        release(d, batch);
    return n;
}

/* What is given back comes again, and what is done does not. */
static void come_again(struct driver *d)
{
    uint32_t first, second;
    if (!d->ops->save)
        return;
    while (take(d, 100, true) > 0 && !course_has(d->course, "settles-nothing"))
        if (d->course->worked > 10000)
            course_report(d->course, "settles-nothing", "what was settled as done comes again");
    save(d, 3);
    take(d, 2, false); /* fewer than there are */
    first = take(d, 100, false);
    second = take(d, 100, true);
    if (first == 3 && second < 3)
        course_report(d->course, "forgets-release",
                      "of 3 messages that were released, the next claim has %u", second);
    if (second == 3 && (second = take(d, 100, true)) > 0)
        course_report(d->course, "settles-nothing",
                      "of 3 messages that were settled as done, the next claim has %u", second);
}

static void claim_and_settle(struct driver *d)
{
    const struct outbox_call call = call_of(LONG_MS, -1);
    save(d, 7);
    for (int i = 0; i < 50; i++) {
        struct outbox_batch *batch = claim(d, 100, &call);
        uint32_t n = batch ? batch->n : 0;
        uint64_t held;
        if (batch && d->ops->renew && batch->lease.p)
            DO(d, renew, LONG_MS, batch->lease, 60000, &call, &held);
        if (batch)
            settle(d, batch, i > 0);
        if (batch)
            release(d, batch);
        if (n == 0)
            break;
    }
}

static void short_calls(struct driver *d)
{
    static const uint32_t times[] = {0, 1, 50, 500};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        const struct outbox_call call = call_of(times[i], -1);
        struct outbox_batch *batch = claim(d, 10, &call);
        if (batch)
            release(d, batch);
        DO(d, check, times[i], &call);
        if (d->ops->wait)
            DO(d, wait, times[i], &call);
    }
}

static void cancelled_calls(struct driver *d)
{
    static const int after[] = {0, 100};
    for (size_t i = 0; d->ops->wait && i < 2; i++) {
        const struct outbox_call call = call_of(LONG_MS, course_cancel_in(after[i]));
        int64_t began = now_ms();
        DO(d, wait, LONG_MS, &call);
        course_judge_cancel(d->course, "wait", now_ms() - began - after[i], GRACE_MS);
        close(call.cancel_fd);
    }
}

/* It may still connect for a call that was too short. */
static void await_ready(struct driver *d)
{
    const struct outbox_call call = call_of(LONG_MS, -1);
    int64_t end = now_ms() + LONG_MS;
    int r;
    while ((r = DO(d, check, LONG_MS, &call)) != OUTBOX_OK && now_ms() < end)
        sleep_ms(50);
    if (r == OUTBOX_OK)
        d->course->trouble[0] = '\0';
}

static void administrate(struct driver *d)
{
    const struct outbox_call call = call_of(LONG_MS, -1);
    const struct outbox_filter all = {.size = sizeof all},
                               failed = {.size = sizeof failed, .statuses = OUTBOX_FAILED};
    struct outbox_page *page;
    struct outbox_relay_page *relays;
    struct outbox_stats stats = {.size = sizeof stats};
    struct outbox_relay_row row = {.size = sizeof row,
                                   .clean = 1,
                                   .id = outbox_cstr("00000000-0000-4000-8000-00000000c0de"),
                                   .name = outbox_cstr("outbox-conform"),
                                   .config_hash = outbox_cstr("0123456789abcdef"),
                                   .state = outbox_cstr("{}"),
                                   .version = outbox_cstr("1")};
    uint64_t n;
    int64_t after = INT64_MIN;
    if (d->ops->list)
        DO(d, list, LONG_MS, &all, INT64_MIN, 10, &call, &page);
    if (d->ops->stats)
        DO(d, stats, LONG_MS, (struct outbox_str){NULL, 0}, 0, &call, &stats);
    if (d->ops->requeue)
        DO(d, requeue, LONG_MS, &failed, &after, 1, &call, &n);
    after = INT64_MIN;
    if (d->ops->discard)
        DO(d, discard, LONG_MS, &failed, &after, 10, &call, &n);
    if (d->ops->purge)
        DO(d, purge, LONG_MS, &failed, 10, &call, &n);
    if (d->ops->relay_put)
        DO(d, relay_put, LONG_MS, &row, &call);
    if (d->ops->relay_list)
        DO(d, relay_list, LONG_MS, &call, &relays);
}

void course_store(struct course *c, const struct instance_setup *setup)
{
    struct driver d = {.course = c, .err = {.size = sizeof d.err}};
    const struct outbox_call call = call_of(LONG_MS, -1);
    struct outbox_str done;
    course_enter(c, "open", CHECKED_OPEN_MS);
    int r = instance_open(&d.instance, setup, &d.err);
    course_leave(c);
    if (r < 0) {
        course_trouble(c, "open returned %d: %s", r, d.err.text);
        return;
    }
    d.ops = &d.instance.plugin->ops.store;
    DO(&d, init, LONG_MS, &call, &done);
    short_calls(&d);
    if (!course_has(c, "late-return")) {
        await_ready(&d);
        come_again(&d);
        claim_and_settle(&d);
        administrate(&d);
        cancelled_calls(&d);
        claim_and_settle(&d);
    }
    course_enter(c, "close", OUTBOX_CLOSE_MS);
    instance_close(&d.instance);
    course_leave(c);
}
