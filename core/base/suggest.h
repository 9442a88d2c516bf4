/* SPDX-License-Identifier: Apache-2.0 */
/* suggest.h - the valid name that somebody may have meant. */
#ifndef CORE_BASE_SUGGEST_H
#define CORE_BASE_SUGGEST_H

#include <stddef.h>

struct nearest {
    const char *wanted;
    const char *best; /* NULL: nothing is near */
    size_t distance;
};

struct nearest nearest_to(const char *wanted);
/* Offers a candidate, which must outlive the use of `best`. */
void nearest_try(struct nearest *nearest, const char *candidate);

/* "; did you mean `X`?" or "", in a buffer of the caller's. */
struct nearest_hint {
    char text[96];
};
const char *nearest_hint(const struct nearest *nearest, struct nearest_hint *buffer);

#endif
