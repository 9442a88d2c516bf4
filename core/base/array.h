/* SPDX-License-Identifier: Apache-2.0 */
/* array.h - room for one more element of an array, without a copy each time. */
#ifndef CORE_BASE_ARRAY_H
#define CORE_BASE_ARRAY_H

#include <stddef.h>
#include <stdlib.h>

/*
 * An array of n elements with room for another, or NULL without memory (then the old one
 * stays). An array that grows only through here has room for the power of two above n.
 */
static inline void *array_grow(void *array, size_t n, size_t size)
{
    if (n & (n - 1))
        return array;
    return reallocarray(array, n ? 2 * n : 1, size);
}

#endif
