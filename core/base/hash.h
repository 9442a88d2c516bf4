/* SPDX-License-Identifier: Apache-2.0 */
/* hash.h - FNV-1a of 64 bits: distinguishes configurations; no protection against an attacker. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HASH_START UINT64_C(0xCBF29CE484222325)

static inline uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * UINT64_C(0x100000001B3);
    return hash;
}

/* A number, byte by byte from the lowest, so that every machine gets the same. */
static inline uint64_t hash_number(uint64_t hash, uint64_t n)
{
    for (int i = 0; i < 8; i++, n >>= 8) {
        unsigned char byte = (unsigned char)n;
        hash = hash_bytes(hash, &byte, 1);
    }
    return hash;
}

/* Its length goes first, so that "ab", "c" is not "a", "bc". */
static inline uint64_t hash_text(uint64_t hash, const char *text)
{
    size_t n = 0;
    while (text && text[n])
        n++;
    return hash_bytes(hash_number(hash, text ? n : UINT64_MAX), text, n);
}
