/* SPDX-License-Identifier: Apache-2.0 */
/* text.c - bytes that grow. */
#include "http.h"

#include <limits.h>
#include <openssl/evp.h>

static char *text_room(struct text *t, size_t n)
{
    if (t->failed || n > SIZE_MAX / 4 - t->n) {
        t->failed = 1;
        return NULL;
    }
    if (t->n + n + 1 > t->cap) {
        size_t cap = t->cap ? t->cap : 256;
        char *p;
        while (cap < t->n + n + 1)
            cap *= 2;
        p = realloc(t->p, cap);
        if (!p) {
            t->failed = 1;
            return NULL;
        }
        t->p = p;
        t->cap = cap;
    }
    return t->p + t->n;
}

void text_add(struct text *t, const char *p, size_t n)
{
    char *room = text_room(t, n);
    if (!room || n == 0)
        return;
    memcpy(room, p, n);
    t->n += n;
}

void text_adds(struct text *t, const char *s)
{
    text_add(t, s, strlen(s));
}

void text_add_base64(struct text *t, const void *p, size_t n)
{
    const unsigned char *at = p;
    while (n > 0) {
        size_t one = n < 3 * 65536 ? n : 3 * 65536;
        char *room = text_room(t, (one + 2) / 3 * 4);
        if (!room)
            return;
        t->n += (size_t)EVP_EncodeBlock((unsigned char *)room, at, (int)one);
        at += one;
        n -= one;
    }
}

void text_add_encoded(struct text *t, const char *p, size_t n)
{
    static const char digits[] = "0123456789ABCDEF";
    char *room = n < SIZE_MAX / 8 ? text_room(t, 3 * n) : NULL;
    if (!room) {
        t->failed = 1;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char b = (unsigned char)p[i];
        if ((b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9') ||
            b == '-' || b == '.' || b == '_' || b == '~') {
            *room++ = (char)b;
            continue;
        }
        *room++ = '%';
        *room++ = digits[b >> 4];
        *room++ = digits[b & 15];
    }
    t->n = (size_t)(room - t->p);
}

const char *text_end(struct text *t)
{
    char *room = text_room(t, 0);
    if (room)
        *room = '\0';
    return room ? t->p : NULL;
}

void text_free(struct text *t)
{
    free(t->p);
    memset(t, 0, sizeof *t);
}
