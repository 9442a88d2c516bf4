/* SPDX-License-Identifier: Apache-2.0 */
#include "base/suggest.h"

#include <stdio.h>
#include <string.h>
#include <sys/param.h>

/* Names are short; longer ones are compared by their beginnings. */
#define NAME_MAX_CHARS 64

struct suggest suggest_for(const char *wanted)
{
    size_t n = strlen(wanted);
    /* About a third of the name may differ; two letters swapped count as two. A name of one or two
     * letters has no similar ones. */
    size_t beyond = n < 3 ? 1 : n == 3 ? 2 : n < 6 ? 3 : n / 3 + 2;
    return (struct suggest){.wanted = wanted, .distance = beyond};
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c == '-' ? '_' : c;
}

/* Levenshtein's distance; case, - and _ do not count. */
static size_t distance(const char *a, const char *b)
{
    size_t na = strnlen(a, NAME_MAX_CHARS), nb = strnlen(b, NAME_MAX_CHARS);
    size_t row[NAME_MAX_CHARS + 1];
    for (size_t j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t above = row[j];
            size_t changed = diagonal + (lower(a[i - 1]) != lower(b[j - 1]));
            row[j] = MIN(changed, MIN(above, row[j - 1]) + 1);
            diagonal = above;
        }
    }
    return row[nb];
}

void suggest_try(struct suggest *similar, const char *candidate)
{
    size_t d = distance(similar->wanted, candidate);
    if (d < similar->distance) {
        similar->distance = d;
        similar->best = candidate;
    }
}

const char *suggest_hint(struct suggest *similar)
{
    if (similar->best)
        snprintf(similar->hint, sizeof similar->hint, "; did you mean `%.64s`?", similar->best);
    return similar->hint;
}
