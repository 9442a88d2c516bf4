/* SPDX-License-Identifier: Apache-2.0 */
/* report.h - what came of the tests: TAP as they end, a summary in its comments, JUnit. */
#pragma once

#include "conform/kit.h"

#define REPORT_LEVELS 5

struct report {
    const char *plugin; /* pub-NAME */
    struct kit_result *results;
    size_t n;
    bool partial; /* only some tests were wanted: no level is told */
};

void report_tap(const struct kit_result *result, size_t number);
/* Returns how many failed. */
size_t report_summary(const struct report *report);
/* Writes it to a file: OUTBOX_OK, or OUTBOX_E_CONFIG with errno. */
int report_junit(const struct report *report, const char *file);
