/* SPDX-License-Identifier: Apache-2.0 */
/* suggest.h - the valid name that is most similar to a wrong one. */
#pragma once

#include <stddef.h>

struct suggest {
    const char *wanted;
    const char *best; /* NULL: none is similar enough */
    size_t distance;
    char hint[96];
};

struct suggest suggest_for(const char *wanted);
/* Offers a candidate, which must outlive the use of `best`. */
void suggest_try(struct suggest *similar, const char *candidate);

/* "; did you mean `X`?" or "". */
const char *suggest_hint(struct suggest *similar);
