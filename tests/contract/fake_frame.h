/* SPDX-License-Identifier: Apache-2.0 */
/* fake_frame.h - a frame of AMQP, put together piece by piece. */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A frame in the making. */
struct out {
    uint8_t p[4096];
    size_t n;
};

static inline void put(struct out *o, const void *p, size_t n)
{
    if (o->n + n > sizeof o->p)
        abort();
    memcpy(o->p + o->n, p, n);
    o->n += n;
}

static inline void put_number(struct out *o, uint64_t value, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--) {
        uint8_t byte = (uint8_t)(value >> (8 * i));
        put(o, &byte, 1);
    }
}

static inline void put_short(struct out *o, const char *s)
{
    put_number(o, strlen(s), 1);
    put(o, s, strlen(s));
}
