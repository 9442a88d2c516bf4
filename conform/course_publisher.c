/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/course.h"

#include "conform/kit.h"
#include "conform/publish.h"

#include <stdio.h>
#include <unistd.h>

#define GRACE_MS 200

/* The publisher of one round. */
struct driver {
    struct course *course;
    const struct instance_setup *setup;
    struct instance instance;
    uint32_t series;
    uint32_t long_ms; /* what a call of publish may take */
    bool open;
    bool broken; /* said so itself */
};

static bool open_it(struct driver *d)
{
    struct outbox_err err = {.size = sizeof err};
    course_enter(d->course, "open", CHECKED_OPEN_MS);
    int r = instance_open(&d->instance, d->setup, &err);
    course_leave(d->course);
    if (r < 0)
        course_trouble(d->course, "open returned %d: %s", r, err.text);
    return d->open = r == OUTBOX_OK;
}

static void close_it(struct driver *d)
{
    if (!d->open)
        return;
    course_enter(d->course, "close", OUTBOX_CLOSE_MS);
    instance_close(&d->instance);
    course_leave(d->course);
    d->open = d->broken = false;
}

/* Opened anew if it said that it is broken; while no descriptor of ours is open for a call. */
static bool is_ready(struct driver *d)
{
    if (!d->broken)
        return d->open;
    close_it(d);
    return open_it(d);
}

static int check(struct driver *d, uint32_t timeout_ms)
{
    struct outbox_err err = {.size = sizeof err};
    const struct outbox_call call = {sizeof call, timeout_ms, -1, 0};
    course_enter(d->course, "check", timeout_ms);
    int r = d->instance.plugin->ops.publisher.check(d->instance.self, &call, &err);
    course_leave(d->course);
    if (r < 0 && timeout_ms == d->long_ms)
        course_trouble(d->course, "check returned %d: %s", r, err.text);
    d->broken |= r == OUTBOX_E_BROKEN;
    return r;
}

/* n messages; how long it took. */
static int64_t publish(struct driver *d, uint64_t n, const struct outbox_call *call, bool must_work)
{
    struct batch *b = batch_new(n);
    uint64_t other;
    for (uint64_t i = 0; i < n; i++)
        batch_set_id(b, i, d->series);
    d->series++;
    course_enter(d->course, "publish", call->timeout_ms);
    int r = batch_publish(b, &d->instance, call);
    int64_t ms = course_leave(d->course);
    d->course->worked += batch_accepted(b, &other);
    if (must_work && (r != OUTBOX_OK || other < n))
        course_trouble(d->course, "publish returned %d, and %s", r,
                       batch_tell(b, other < n ? other : 0));
    d->broken |= r == OUTBOX_E_BROKEN;
    batch_free(b);
    return ms;
}

/* It may still connect for a call that was too short. */
static void await_ready(struct driver *d)
{
    int64_t end = now_ms() + d->long_ms;
    while (is_ready(d) && check(d, d->long_ms) != OUTBOX_OK && !d->broken && now_ms() < end)
        sleep_ms(50);
}

static void short_calls(struct driver *d)
{
    static const uint32_t times[] = {0, 1, 50, 500};
    for (size_t i = 0; is_ready(d) && i < sizeof times / sizeof times[0]; i++) {
        const struct outbox_call call = {sizeof call, times[i], -1, GRACE_MS};
        publish(d, i == 3 ? 20 : 1, &call, false);
        if (is_ready(d))
            check(d, times[i]);
    }
}

static void cancelled_calls(struct driver *d)
{
    static const int after[] = {0, 30};
    for (size_t i = 0; is_ready(d) && i < 2; i++) {
        struct outbox_call call = {sizeof call, d->long_ms, course_cancel_in(after[i]), GRACE_MS};
        int64_t ms = publish(d, i == 0 ? 10 : 300, &call, false);
        course_judge_cancel(d->course, "publish", ms - after[i], GRACE_MS);
        close(call.cancel_fd);
    }
}

static void keepalive(struct driver *d)
{
    const struct outbox_publisher_ops *ops = &d->instance.plugin->ops.publisher;
    struct outbox_keepalive ret = {.size = sizeof ret};
    struct outbox_err err = {.size = sizeof err};
    if (!is_ready(d) || !ops->capabilities ||
        !(ops->capabilities(d->instance.self) & OUTBOX_PUB_KEEPALIVE))
        return;
    course_enter(d->course, "keepalive", 100);
    ops->keepalive(d->instance.self, &ret, &err);
    course_leave(d->course);
}

void course_publisher(struct course *c, const struct instance_setup *setup)
{
    static const uint64_t sizes[] = {1, 2, 10, 100};
    struct driver d = {.course = c,
                       .setup = setup,
                       .series = (uint32_t)(c->round + 1) << 8,
                       .long_ms = setup->publish_ms};
    const struct outbox_call call = {sizeof call, d.long_ms, -1, GRACE_MS};
    if (!open_it(&d))
        return;
    short_calls(&d);
    /* One that is late is so after the whole time that it has. */
    bool late = course_has(c, "late-return");
    if (!late)
        await_ready(&d);
    for (size_t i = 0; !late && is_ready(&d) && i < sizeof sizes / sizeof sizes[0]; i++)
        publish(&d, sizes[i], &call, true);
    keepalive(&d);
    if (!late)
        cancelled_calls(&d);
    if (!late && is_ready(&d))
        publish(&d, 3, &call, true);
    close_it(&d);
}
