/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kit.h - tests of a plugin, whoever runs them: outbox-conform, which has a table of them and runs
 * each in a process of its own, or a program of tests/, as a suite of Check.
 */
#pragma once

#include <check.h>
#include <stdbool.h>
#include <stdint.h>

/* When this test has failed, those that call the plugin are left out: they could not tell more. */
#define KIT_GATE 1u
/* It is run whatever gates say: it has a way of its own to leave things out. */
#define KIT_ALWAYS 2u
/* A rule of level 3 tells the same, by another name: only programs of ours run it. */
#define KIT_OURS 4u

struct kit_test {
    const char *name;
    const TTest *test;
    int from, to; /* the test's _i: from <= _i < to */
    int level;
    uint32_t flags;
    int timeout_s;
    /* Around the test, in its process; may be NULL. */
    void (*set_up)(void);
    void (*tear_down)(void);
};

/* Where tests are registered. `name` NULL: the name of the test's function. */
struct kit_sink {
    void (*add)(const struct kit_sink *sink, const struct kit_test *test);
    void *ctx;
    int level; /* of what is added without one */
};
/* A test, with the rest of *like. */
void kit_add(const struct kit_sink *sink, const struct kit_test *like, const TTest *test, int from,
             int to, uint32_t flags);
/* Adds to a suite of Check. */
struct kit_sink kit_suite(Suite *suite);

/* ---- outbox-conform's table ---- */

struct kit_table {
    struct kit_test *tests;
    size_t n;
};
struct kit_sink kit_table(struct kit_table *table);

enum kit_outcome { KIT_PASSED, KIT_FAILED, KIT_SKIPPED };
struct kit_result {
    const struct kit_test *test;
    enum kit_outcome outcome;
    char *text; /* why, if it has not passed; for free() */
    double seconds;
};
/* Runs it in a process of its own, which ends with it and with all that it has started. */
void kit_run(const struct kit_test *test, struct kit_result *ret);

/* ---- what tests use ---- */

/* Ends the test: it cannot tell, and why. */
void kit_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/* Memory that the test shares with processes that it starts; zeroed. */
void *kit_shared(size_t n);
/* A number of this run, so that ids of two runs differ. */
uint32_t kit_run_number(void);
int64_t now_ms(void); /* monotonic */
void sleep_ms(int ms);
