/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/pg_args.h"

#include <string.h>

/* From the server's pg_type.dat; they never change. */
#define OID_BYTEA 17
#define OID_INT8 20
#define OID_TEXT 25
#define OID_TID 27
#define OID_TID_ARRAY 1010
#define OID_TEXT_ARRAY 1009
#define OID_INT8_ARRAY 1016

static void put32(char *p, uint32_t value)
{
    for (int i = 3; i >= 0; i--, value >>= 8)
        p[i] = (char)(value & 0xFF);
}

static void put64(char *p, int64_t value)
{
    put32(p, (uint32_t)((uint64_t)value >> 32));
    put32(p + 4, (uint32_t)value);
}

/* p NULL, but n not negative: no memory. */
static void add(struct pg_args *args, Oid type, const char *p, size_t n)
{
    if (args->n == PG_ARGS_MAX || n > INT32_MAX) {
        args->failed = true;
        return;
    }
    args->types[args->n] = type;
    args->values[args->n] = p;
    args->lengths[args->n++] = (int)n;
}

void pg_args_int(struct pg_args *args, int64_t value)
{
    char *p = arena_alloc(args->arena, 8);
    if (p)
        put64(p, value);
    args->failed |= !p;
    add(args, OID_INT8, p, 8);
}

void pg_args_text(struct pg_args *args, struct outbox_str text)
{
    add(args, OID_TEXT, text.p, (size_t)text.n);
}

void pg_args_bytes(struct pg_args *args, struct outbox_str bytes)
{
    add(args, OID_BYTEA, bytes.p, (size_t)bytes.n);
}

/* ---- arrays ---- */

/* The header of an array of one dimension; where its members begin. */
static char *begin_array(struct pg_args *args, Oid type, size_t n, size_t bytes, char **ret)
{
    enum { HEAD = 20 };
    char *p = bytes > INT32_MAX / 2 ? NULL : arena_alloc(args->arena, HEAD + bytes);
    *ret = p;
    args->failed |= !p;
    if (!p)
        return NULL;
    put32(p, n > 0);
    put32(p + 4, 1); /* there may be NULLs */
    put32(p + 8, type);
    put32(p + 12, (uint32_t)n);
    put32(p + 16, 1);
    return p + HEAD;
}

/* An empty array has no dimension at all. */
static void end_array(struct pg_args *args, Oid type, size_t n, const char *array, const char *end)
{
    add(args, type, array, array ? n > 0 ? (size_t)(end - array) : 12 : 0);
}

void pg_args_ints(struct pg_args *args, const int64_t *values, size_t n)
{
    char *array, *p = begin_array(args, OID_INT8, n, n * 12, &array);
    for (size_t i = 0; p && i < n; i++, p += 12) {
        put32(p, 8);
        put64(p + 4, values[i]);
    }
    end_array(args, OID_INT8_ARRAY, n, array, p);
}

void pg_args_ctids(struct pg_args *args, const uint64_t *values, size_t n)
{
    char *array, *p = begin_array(args, OID_TID, n, n * 10, &array);
    for (size_t i = 0; p && i < n; i++, p += 10) {
        put32(p, 6);
        put32(p + 4, (uint32_t)(values[i] >> 16));
        p[8] = (char)(values[i] >> 8 & 0xFF);
        p[9] = (char)(values[i] & 0xFF);
    }
    end_array(args, OID_TID_ARRAY, n, array, p);
}

void pg_args_texts(struct pg_args *args, const struct outbox_str *values, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += 4 + (size_t)values[i].n;
    char *array, *p = begin_array(args, OID_TEXT, n, bytes, &array);
    for (size_t i = 0; p && i < n; i++) {
        put32(p, values[i].p ? (uint32_t)values[i].n : UINT32_MAX);
        p += 4;
        if (values[i].p && values[i].n > 0)
            memcpy(p, values[i].p, (size_t)values[i].n);
        p += values[i].p ? values[i].n : 0;
    }
    end_array(args, OID_TEXT_ARRAY, n, array, p);
}
