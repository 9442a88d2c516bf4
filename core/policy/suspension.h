/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suspension.h - what is unavailable is not tried until a pause is over, which grows with every
 * failure, and then by one worker at a time.
 *
 * Used inside a publisher's circuit breaker (breaker.h), and on its own for the store's claims and
 * for its settles.
 * All workers share one; `lock` protects every field. Times are monotonic microseconds unless
 * said otherwise.
 */
#pragma once

#include "base/reminder.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct suspension {
    pthread_mutex_t lock;
    int64_t shortest_ms, longest_ms; /* bounds of the growing pause */
    uint32_t failures;               /* in a row; 0: available */
    bool probing;                    /* one worker is trying */
    int64_t until_us;                /* no worker tries before */
    int64_t min_pause_ms; /* a pause that was asked for; the later ones are not shorter */
    int64_t since_us;     /* unavailable since, wall clock */
    int64_t began_us;     /* the same, monotonic */
    int64_t check_ok_us;  /* its check passed since then, with no message yet; 0: no */
    char reason[256];     /* of the last failure */
    char reported[256];   /* the reason that was logged last, and when */
    int64_t reported_us;
    struct reminder reminder; /* an outage that lasts is logged again */
};

/* A copy to look at. */
struct suspension_view {
    bool paused;
    bool probing;
    int64_t until_us; /* while one worker tries: a little more */
    int64_t since_us;
    int64_t began_us;
    char reason[256];
};

void suspension_init(struct suspension *s, int64_t shortest_ms, int64_t longest_ms);
void suspension_destroy(struct suspension *s);

/*
 * 0: go ahead; then report by suspension_failed, suspension_passed, suspension_check_ok or
 * suspension_unknown how it went. Otherwise the ms to wait. *ret_trial (NULL allowed): it was
 * unavailable, and this caller is the one who tries.
 */
int64_t suspension_enter(struct suspension *s, bool *ret_trial);

/*
 * It is unavailable: for after_ms, or with 0 for a time that grows with every failure and is not
 * shorter than the after_ms of this outage, as far as that is below the longest pause. True when
 * that is to be logged: it was available before, the reason is another one, or it lasts for long.
 * *ret_ms: how long.
 */
bool suspension_failed(struct suspension *s, int64_t after_ms, const char *reason, size_t n,
                       int64_t *ret_ms);

/* It is unavailable, and nothing was logged of that for almost a minute: it is to be logged again,
 * because no minute is to pass in silence while messages wait. */
bool suspension_remind(struct suspension *s);

/* It works. True when that is to be logged: it was unavailable as far as the log says. */
bool suspension_passed(struct suspension *s);

/*
 * Its own check passed, but it was given no work yet. It counts as available, but the next who
 * enters makes a trial, and when that fails soon the pause goes on to grow. Nothing to log: only
 * work that is done shows that it is back.
 */
void suspension_check_ok(struct suspension *s);

/* The trial ended without an answer. */
void suspension_unknown(struct suspension *s);

struct suspension_view suspension_snapshot(struct suspension *s);
