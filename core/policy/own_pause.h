/* SPDX-License-Identifier: Apache-2.0 */
/*
 * own_pause.h - what fails for one worker and works for the others is that worker's own trouble,
 * such as "no more connections for you": it alone pauses, longer and longer, and the others go on.
 * One of a worker for the store, and one for each publisher. Times are monotonic microseconds.
 */
#pragma once

#include "base/reminder.h"

#include <stdbool.h>
#include <stdint.h>

/* Zeroed: all is well. */
struct own_pause {
    int64_t failed_us; /* the last time; 0: it has passed since */
    int64_t until_us;
    bool passed;       /* ever */
    uint32_t failures; /* in a row, that were its own */
    struct reminder reminder;
};

/* It failed, asks for after_ms of rest (0: for none), and says itself that it is for this worker
 * alone: until_us says how long this worker pauses. True: that is to be logged. */
bool own_pause_begin(struct own_pause *p, int64_t after_ms, int64_t now_us);
/* The same, if `others_us`, when it passed for anyone last, shows that it is for this worker alone:
 * it passed since it failed for this worker before; or just now, and for this worker never. False:
 * it does not. *ret_told: whether it is to be logged. */
bool own_pause_failed(struct own_pause *p, int64_t others_us, int64_t after_ms, int64_t now_us,
                      bool *ret_told);
void own_pause_passed(struct own_pause *p);
