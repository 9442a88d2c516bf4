/* SPDX-License-Identifier: Apache-2.0 */
#include "common/bisect.h"

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

void bisect_begin(struct bisect *b, size_t n)
{
    *b = (struct bisect){.n = n, .size = n};
}

bool bisect_range(const struct bisect *b, size_t *ret_from, size_t *ret_count)
{
    *ret_from = b->at;
    *ret_count = b->size;
    return b->at < b->n;
}

/* Behind a range that failed as a whole, what is left of it is halved; else ranges double, so that
 * many items at fault do not make each other expensive. */
void bisect_passed(struct bisect *b)
{
    size_t doubled = 2 * b->size;
    b->at += b->size;
    if (b->at >= b->bad_end)
        b->bad_end = 0;
    b->size = b->bad_end ? (b->bad_end - b->at + 1) / 2 : least(doubled, b->n - b->at);
}

bool bisect_failed(struct bisect *b)
{
    if (b->size > 1) {
        b->bad_end = b->at + b->size;
        b->size = b->size / 2;
        return false;
    }
    b->at++;
    b->bad_end = 0;
    b->size = least(1, b->n - b->at);
    return true;
}
