/* SPDX-License-Identifier: Apache-2.0 */
/* arrive.h - what the author's `verify` says: which messages have arrived. */
#pragma once

#include "conform/kit.h"
#include "conform/publish.h"

/* The ids that have arrived, sorted; to be freed by arrive_free. Ends the test if the command
 * fails. */
struct arrived {
    char *text;
    char **ids;
    size_t n;
};
void arrive_read(const char *verify, struct arrived *ret);
void arrive_free(struct arrived *a);
bool arrive_has(const struct arrived *a, const char *id);

/* Waits, at most ms, until all of the ids have arrived: how many have not, and the first of them
 * (NULL: none). */
size_t arrive_wait(const char *verify, char *const *ids, size_t n, int64_t ms,
                   const char **ret_first);

/* The test that needs no more than that. */
void arrive_add(const struct kit_sink *sink);
