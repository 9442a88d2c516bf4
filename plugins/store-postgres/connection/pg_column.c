/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/pg_binary.h"

#include <uuid.h>

/* PostgreSQL counts from 2000-01-01. */
#define EPOCH_US INT64_C(946684800000000)

static uint64_t get(const unsigned char *p, int n)
{
    uint64_t value = 0;
    for (int i = 0; i < n; i++)
        value = value << 8 | p[i];
    return value;
}

int64_t pg_column_int(const PGresult *rows, int row, int column)
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

struct outbox_str pg_column_text(const PGresult *rows, int row, int column)
{
    if (PQgetisnull(rows, row, column))
        return (struct outbox_str){NULL, 0};
    return (struct outbox_str){PQgetvalue(rows, row, column),
                               (uint64_t)PQgetlength(rows, row, column)};
}

int64_t pg_column_time(const PGresult *rows, int row, int column)
{
    if (PQgetisnull(rows, row, column))
        return 0;
    int64_t us = pg_column_int(rows, row, column);
    /* infinity and -infinity are the largest and smallest of all */
    return us > INT64_MAX - EPOCH_US ? INT64_MAX : us == INT64_MIN ? INT64_MIN : us + EPOCH_US;
}

uint64_t pg_column_ctid(const PGresult *rows, int row, int column)
{
    const unsigned char *p = (const unsigned char *)PQgetvalue(rows, row, column);
    return PQgetlength(rows, row, column) == 6 ? get(p, 6) : 0;
}

int pg_column_uuid(const PGresult *rows, int row, int column, struct arena *arena,
                   struct outbox_str *ret)
{
    *ret = pg_column_text(rows, row, column);
    if (!ret->p || ret->n != 16)
        return OUTBOX_OK; /* NULL, or a column that is text after all */
    char *text = arena_alloc(arena, UUID_STR_LEN);
    if (!text)
        return OUTBOX_E_RETRY;
    uuid_unparse_lower((const unsigned char *)ret->p, text);
    *ret = (struct outbox_str){text, UUID_STR_LEN - 1};
    return OUTBOX_OK;
}
