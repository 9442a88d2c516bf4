/* SPDX-License-Identifier: Apache-2.0 */
/*
 * course.h - a fixed course that drives the plugin through everything that it has, below the layer
 * that watches it (plugin/checked.h), in a process that runs nothing else. It runs once, and each
 * test of level 3 looks for the reports of its own rule.
 */
#pragma once

#include "plugin/checked.h"

#include <stdbool.h>
#include <stddef.h>

#define COURSE_REPORTS 200

/* Shared by the process of the course and those of the tests. */
struct course {
    bool run, ended;
    /* The call that it is in: a call that is not back long after `allowed_ms` never returns. */
    char operation[32];
    int64_t began_ms;
    int64_t allowed_ms;
    bool in_call;
    /* How it ended, unless by itself. */
    bool never_returned;
    int signal;          /* 0: none */
    char fault_rule[32]; /* of checked_rule_at; empty: a crash like any other */
    /* What was done: so many messages accepted or settled, decisions. */
    int round;
    uint64_t worked;
    char trouble[400]; /* the first thing that did not work */
    size_t n_reports;
    struct course_report {
        char rule[32], operation[32], what[400];
        int round;
    } reports[COURSE_REPORTS];
};

/* The record; the course runs at the first call, also of another process. */
const struct course *course_run(void);
/* Makes the record, empty: before the processes that share it. */
void course_begin(void);

/* ---- what the parts for each kind use, in the process of the course ---- */

struct instance_setup;
void course_publisher(struct course *c, const struct instance_setup *setup);
void course_store(struct course *c, const struct instance_setup *setup);
void course_rule(struct course *c, const struct instance_setup *setup);

/* Around each call: which may take so long. Returns how long it took. */
void course_enter(struct course *c, const char *operation, int64_t allowed_ms);
int64_t course_leave(struct course *c);
/* Reports a rule of our own. */
void course_report(struct course *c, const char *rule, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool course_has(const struct course *c, const char *rule);
/* Remembers the first trouble. */
void course_trouble(struct course *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Did the call, cancelled `ms` ago with this grace, return in time? */
void course_judge_cancel(struct course *c, const char *operation, int64_t ms, uint32_t grace_ms);
/* A descriptor that becomes readable in `ms` (0: is so) and stays so. */
int course_cancel_in(int ms);
