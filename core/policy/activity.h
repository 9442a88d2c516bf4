/* SPDX-License-Identifier: Apache-2.0 */
/*
 * activity.h - what one worker does now, since when, and when it last got on. The worker writes it,
 * and whoever tells people of it reads it, however long the worker's calls take.
 *
 * `lock` protects every field. Times are monotonic microseconds unless said otherwise.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A step that lasts for so long is shown; a worker that got nothing done for so long is told. */
#define ACTIVITY_SLOW_US INT64_C(5000000)
#define ACTIVITY_STALLED_US INT64_C(60000000)

enum activity_step {
    ACTIVITY_IDLE, /* it waits: nothing is due, or what is due may not be tried now */
    ACTIVITY_CLAIMING,
    ACTIVITY_PUBLISHING,
    ACTIVITY_CHECKING, /* it serves a publisher without messages */
    ACTIVITY_SETTLING,
    ACTIVITY_RELEASING,
    ACTIVITY_CLOSING, /* a publisher, at the worker's end */
    ACTIVITY_CLOSING_STORE,
};

/* Is it a step with one publisher? */
static inline bool activity_has_publisher(enum activity_step step)
{
    return step == ACTIVITY_PUBLISHING || step == ACTIVITY_CHECKING || step == ACTIVITY_CLOSING;
}

struct activity_view {
    enum activity_step step;
    size_t publisher; /* if activity_has_publisher */
    int64_t since_us;
    int64_t since_wall_us; /* the same, wall clock */
    int64_t moved_us;      /* it was idle, or settled something */
    int64_t moved_wall_us; /* it settled something, wall clock; 0: never */
};

struct activity {
    pthread_mutex_t lock;
    struct activity_view now;
};

/* When something was done last. Any thread. */
struct activity_done {
    _Atomic int64_t us; /* 0: never */
    _Atomic int64_t wall_us;
};

void activity_init(struct activity *a);
void activity_destroy(struct activity *a);

/* The next step; `publisher` is looked at only where there is one. */
void activity_begin(struct activity *a, enum activity_step step, size_t publisher);
/* It waits for what a publisher has had since then, monotonic. */
void activity_wait(struct activity *a, size_t publisher, int64_t since_us);
/* Something was settled. */
void activity_moved(struct activity *a);
void activity_note(struct activity_done *done);

struct activity_view activity_snapshot(struct activity *a);

/* Does this step last for so long that people should see it? */
bool activity_is_slow(const struct activity_view *view, int64_t now_us);
/* Has this worker something to do, and got nothing done for long? */
bool activity_is_stalled(const struct activity_view *view, int64_t now_us);
/* As a program reads it, "publishing"; and as a person does, "publishes to". */
const char *activity_name(enum activity_step step);
const char *activity_verb(enum activity_step step);
