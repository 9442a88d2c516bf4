/* SPDX-License-Identifier: Apache-2.0 */
/* pg_binary.c - values to and from PostgreSQL's binary formats (src/backend/utils/adt, the *send
 * and *recv functions). */
#include "postgres.h"

#include <string.h>

/* From the server's pg_type.dat; they never change. */
#define OID_BYTEA 17
#define OID_INT8 20
#define OID_TEXT 25
#define OID_TID 27
#define OID_TID_ARRAY 1010
#define OID_TEXT_ARRAY 1009
#define OID_INT8_ARRAY 1016

/* PostgreSQL counts from 2000-01-01. */
#define EPOCH_US INT64_C(946684800000000)

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
static void add(struct args *args, Oid type, const char *p, size_t n)
{
    if (args->n == ARGS_MAX || n > INT32_MAX) {
        args->failed = true;
        return;
    }
    args->types[args->n] = type;
    args->values[args->n] = p;
    args->lengths[args->n++] = (int)n;
}

void args_int(struct args *args, int64_t value)
{
    char *p = arena_alloc(args->arena, 8);
    if (p)
        put64(p, value);
    args->failed |= !p;
    add(args, OID_INT8, p, 8);
}

void args_text(struct args *args, struct outbox_str text)
{
    add(args, OID_TEXT, text.p, (size_t)text.n);
}

void args_bytes(struct args *args, struct outbox_str bytes)
{
    add(args, OID_BYTEA, bytes.p, (size_t)bytes.n);
}

/* ---- arrays ---- */

/* The header of an array of one dimension; where its members begin. */
static char *begin_array(struct args *args, Oid type, size_t n, size_t bytes, char **ret)
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
static void end_array(struct args *args, Oid type, size_t n, const char *array, const char *end)
{
    add(args, type, array, array ? n > 0 ? (size_t)(end - array) : 12 : 0);
}

void args_ints(struct args *args, const int64_t *values, size_t n)
{
    char *array, *p = begin_array(args, OID_INT8, n, n * 12, &array);
    for (size_t i = 0; p && i < n; i++, p += 12) {
        put32(p, 8);
        put64(p + 4, values[i]);
    }
    end_array(args, OID_INT8_ARRAY, n, array, p);
}

void args_ctids(struct args *args, const uint64_t *values, size_t n)
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

void args_texts(struct args *args, const struct outbox_str *values, size_t n)
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

/* ---- columns ---- */

static uint64_t get(const unsigned char *p, int n)
{
    uint64_t value = 0;
    for (int i = 0; i < n; i++)
        value = value << 8 | p[i];
    return value;
}

int64_t column_int(const PGresult *rows, int row, int column)
{
    const unsigned char *p = (const unsigned char *)PQgetvalue(rows, row, column);
    switch (PQgetlength(rows, row, column)) {
    case 1:
        return p[0];
    case 2:
        return (int16_t)get(p, 2);
    case 4:
        return (int32_t)get(p, 4);
    case 8:
        return (int64_t)get(p, 8);
    default:
        return 0;
    }
}

struct outbox_str column_text(const PGresult *rows, int row, int column)
{
    if (PQgetisnull(rows, row, column))
        return (struct outbox_str){NULL, 0};
    return (struct outbox_str){PQgetvalue(rows, row, column),
                               (uint64_t)PQgetlength(rows, row, column)};
}

int64_t column_time(const PGresult *rows, int row, int column)
{
    if (PQgetisnull(rows, row, column))
        return 0;
    int64_t us = column_int(rows, row, column);
    /* infinity and -infinity are the largest and smallest of all */
    return us > INT64_MAX - EPOCH_US ? INT64_MAX : us == INT64_MIN ? INT64_MIN : us + EPOCH_US;
}

uint64_t column_ctid(const PGresult *rows, int row, int column)
{
    const unsigned char *p = (const unsigned char *)PQgetvalue(rows, row, column);
    return PQgetlength(rows, row, column) == 6 ? get(p, 6) : 0;
}

int column_uuid(const PGresult *rows, int row, int column, struct arena *arena,
                struct outbox_str *ret)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *p = (const unsigned char *)PQgetvalue(rows, row, column);
    *ret = column_text(rows, row, column);
    if (!ret->p || ret->n != 16)
        return 0; /* NULL, or a column that is text after all */
    char *text = arena_alloc(arena, 37);
    if (!text)
        return -1;
    char *out = text;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *out++ = '-';
        *out++ = digits[p[i] >> 4];
        *out++ = digits[p[i] & 15];
    }
    *out = '\0';
    *ret = (struct outbox_str){text, 36};
    return 0;
}
