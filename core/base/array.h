/* SPDX-License-Identifier: Apache-2.0 */
/* array.h - arrays that grow by one element at a time. */
#pragma once

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/*
 * Appends a zeroed element and returns it, or NULL without memory (the array is as before).
 * `array` is the address of the pointer to the first element; *n counts the elements. The room
 * is always the power of two at or above *n, so an array must grow only through this function.
 */
static inline void *array_add(void *array, size_t *n, size_t size)
{
    void *first;
    memcpy(&first, array, sizeof first);
    if ((*n & (*n - 1)) == 0) {
        void *grown = reallocarray(first, *n ? 2 * *n : 1, size);
        if (!grown)
            return NULL;
        first = grown;
        memcpy(array, &first, sizeof first);
    }
    return memset((char *)first + (*n)++ * size, 0, size);
}
