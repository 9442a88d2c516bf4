/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/pg_binary.h"

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

/* p NULL: the argument is NULL. */
static void add(struct pg_args *args, Oid type, const char *p, size_t n)
{
    args->failed |= args->n == PG_ARGS_MAX || n > INT32_MAX;
    if (args->failed)
        return;
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

/* Adds an array of one dimension whose members take so many bytes; where they begin, or NULL
 * without memory. */
static char *add_array(struct pg_args *args, Oid type, Oid member, size_t n, size_t bytes)
{
    enum { HEAD = 20, EMPTY = 12 }; /* an empty array has no dimension at all */
    char *p = bytes > INT32_MAX / 2 ? NULL : arena_alloc(args->arena, HEAD + bytes);
    args->failed |= !p;
    if (!p)
        return NULL;
    put32(p, n > 0);
    put32(p + 4, 1); /* there may be NULLs */
    put32(p + 8, member);
    put32(p + 12, (uint32_t)n);
    put32(p + 16, 1);
    add(args, type, p, n > 0 ? HEAD + bytes : EMPTY);
    return p + HEAD;
}

void pg_args_ints(struct pg_args *args, const int64_t *values, size_t n)
{
    char *p = add_array(args, OID_INT8_ARRAY, OID_INT8, n, n * 12);
    for (size_t i = 0; p && i < n; i++, p += 12) {
        put32(p, 8);
        put64(p + 4, values[i]);
    }
}

void pg_args_ctids(struct pg_args *args, const int64_t *values, size_t n)
{
    char *p = add_array(args, OID_TID_ARRAY, OID_TID, n, n * 10);
    for (size_t i = 0; p && i < n; i++, p += 10) {
        put32(p, 6);
        put32(p + 4, (uint32_t)(values[i] >> 16));
        p[8] = (char)(values[i] >> 8 & 0xFF);
        p[9] = (char)(values[i] & 0xFF);
    }
}

void pg_args_texts(struct pg_args *args, const struct outbox_str *values, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += 4 + (values[i].p ? (size_t)values[i].n : 0);
    char *p = add_array(args, OID_TEXT_ARRAY, OID_TEXT, n, bytes);
    for (size_t i = 0; p && i < n; i++) {
        put32(p, values[i].p ? (uint32_t)values[i].n : UINT32_MAX);
        p += 4;
        if (values[i].p)
            p = mempcpy(p, values[i].p, (size_t)values[i].n);
    }
}
