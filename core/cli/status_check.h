/* SPDX-License-Identifier: Apache-2.0 */
/* status_check.h - outboxd status --fail-if: conditions for a monitor. */
#pragma once

#include <outbox/store.h>

#include <stdbool.h>

#define STATUS_CHECKS_MAX 16

struct status_check {
    const char *text; /* as given */
    const struct status_check_kind *kind;
    int64_t limit; /* a count, or ms */
};

/* Zeroed: none. */
struct status_checks {
    struct status_check checks[STATUS_CHECKS_MAX];
    unsigned n;
};

/* The i-th condition, and whether a limit follows it after `>`; NULL: there are no more. */
const char *status_check_name(size_t i, bool *ret_has_limit);

/* Adds a condition; `text` is borrowed. OUTBOX_E_CONFIG: it is none. */
int status_check_add(struct status_checks *checks, const char *text, struct outbox_err *err);

/* Does a condition hang on a count that was cut short, so that all has to be counted? */
bool status_check_needs_exact(const struct status_checks *checks, const struct outbox_stats *stats);

/* Is this relay live? */
typedef bool (*status_check_live)(const struct outbox_relay_page *relays,
                                  const struct outbox_relay_row *row);

/* Prints a line on standard error for each condition that holds. Returns an exit code. */
int status_check_run(const struct status_checks *checks, const struct outbox_stats *stats,
                     const struct outbox_relay_page *relays, status_check_live is_live);
