/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bisect.h - which of n items make a whole fail, when a try tells only whether a range of them
 * passed.
 *
 *     bisect_begin(&b, n);
 *     while (bisect_range(&b, &from, &count))
 *         if (try(from, count) passes)
 *             bisect_passed(&b);
 *         else if (bisect_failed(&b))
 *             item `from` is at fault
 *
 * Ranges come in order and never overlap a decided one, so that an item which passed is never tried
 * again. One item at fault costs about log2(n) tries, n of them at most 3n. A range whose failure
 * says nothing about its items (a lost connection) is neither passed nor failed: try it again, or
 * stop.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct bisect {
    size_t n;       /* items */
    size_t at;      /* items before this one are decided */
    size_t size;    /* of the range that is tried now */
    size_t bad_end; /* a range from `at` to here is known to fail; 0: none */
};

/* The first range is all n items. */
void bisect_begin(struct bisect *b, size_t n);

/* The range to try now, at least one item; false: every item is decided. */
bool bisect_range(const struct bisect *b, size_t *ret_from, size_t *ret_count);

/* All items of the range are good. */
void bisect_passed(struct bisect *b);

/* The range failed. True: it was one item, which is decided now; false: a smaller one comes next.
 */
bool bisect_failed(struct bisect *b);
