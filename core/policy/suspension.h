/* SPDX-License-Identifier: Apache-2.0 */
/* suspension.h - something that is out of order is left alone, and tried by one at a time. */
#ifndef CORE_POLICY_SUSPENSION_H
#define CORE_POLICY_SUSPENSION_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAUSE_MIN_MS 500
#define PAUSE_MAX_MS 30000

/* The state of one publisher, or of the store, shared by all workers. */
struct suspension {
    pthread_mutex_t lock;
    uint32_t failures; /* in a row; 0: in order */
    bool probing;      /* one worker is trying */
    int64_t until_us;  /* monotonic: nobody tries before */
    int64_t least_ms;  /* a pause that was asked for; the later ones are not shorter */
    int64_t since_us;  /* wall clock: out of order since */
    int64_t began_us;  /* the same, monotonic */
    int64_t asked_us;  /* monotonic: it has said since that it is in order; 0: not */
    bool told_back;    /* and an operator was told */
    char reason[256];
    int64_t told_us; /* monotonic: when an operator was told last, and of which reason */
    char told[256];
};

/* A copy to look at. */
struct suspension_view {
    bool paused;
    bool probing;
    int64_t until_us; /* while somebody tries: a little more */
    int64_t since_us;
    int64_t began_us;
    char reason[256];
};

void suspension_init(struct suspension *pause);
void suspension_destroy(struct suspension *pause);

/*
 * 0: go ahead, and tell how it went by suspension_failed, suspension_passed or suspension_unknown.
 * Otherwise how many ms to leave it alone. *ret_trial (NULL allowed): it was out of order, this is
 * a trial.
 */
int64_t suspension_enter(struct suspension *pause, bool *ret_trial);

/* Out of order: left alone for after_ms, or with 0 for a time that grows with every failure and is
 * not shorter than what was asked for last, as far as that is below PAUSE_MAX_MS.
 * True when it is news: in order before, or for another reason than was told. *ret_ms: how long. */
bool suspension_failed(struct suspension *pause, int64_t after_ms, const char *reason, size_t n,
                       int64_t *ret_ms);
/* In order. True when it was out of order before, as far as an operator knows. */
bool suspension_passed(struct suspension *pause);
/*
 * It says that it is in order, and nothing was asked of it yet. It counts as such, but the next who
 * enters makes a trial, and should that fail soon, then the pause goes on to grow.
 * `tells`: an operator is told of it. True when it was out of order before.
 */
bool suspension_check_ok(struct suspension *pause, bool tells);
/* The trial said nothing either way. */
void suspension_unknown(struct suspension *pause);

struct suspension_view suspension_snapshot(struct suspension *pause);

#endif
