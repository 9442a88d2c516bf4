/* SPDX-License-Identifier: Apache-2.0 */
/* rows.c - a batch as arrays in the binary form of PostgreSQL: one array a column. */
#include "inbox.h"

/* From the server's pg_type.dat; they never change. */
#define OID_BYTEA 17
#define OID_INT8 20
#define OID_TEXT 25
#define OID_BYTEA_ARRAY 1001
#define OID_TEXT_ARRAY 1009
#define OID_INT8_ARRAY 1016
#define OID_TIMESTAMPTZ 1184
#define OID_TIMESTAMPTZ_ARRAY 1185

/* 2000-01-01, from where PostgreSQL counts. */
#define EPOCH_US INT64_C(946684800000000)

const Oid rows_types[ROWS_COLUMNS] = {OID_TEXT_ARRAY,  OID_TEXT_ARRAY, OID_TEXT_ARRAY,
                                      OID_BYTEA_ARRAY, OID_TEXT_ARRAY, OID_TIMESTAMPTZ_ARRAY,
                                      OID_INT8_ARRAY,  OID_TEXT};

/* A character of a header takes at most six bytes in JSON. */
uint64_t rows_size(const struct outbox_message *msg)
{
    uint64_t n = msg->id.n + msg->topic.n + msg->key.n + msg->payload.n + 64;
    for (uint64_t i = 0; i < msg->n_headers; i++)
        n += 6 * (msg->headers[i].name.n + msg->headers[i].value.n) + 8;
    return n;
}

/* ---- bytes ---- */

static char *room(struct rows *rows, size_t n)
{
    size_t cap = rows->cap ? rows->cap : 65536;
    char *p;
    while (cap - rows->n < n)
        cap *= 2;
    if (cap != rows->cap && !rows->failed) {
        p = realloc(rows->p, cap);
        if (p) {
            rows->p = p;
            rows->cap = cap;
        }
        rows->failed = !p;
    }
    return rows->failed ? NULL : rows->p + rows->n;
}

static void put(struct rows *rows, const void *p, size_t n)
{
    char *to = room(rows, n);
    if (!to)
        return;
    if (n > 0)
        memcpy(to, p, n);
    rows->n += n;
}

static void set32(char *p, uint32_t value)
{
    for (int i = 3; i >= 0; i--, value >>= 8)
        p[i] = (char)(value & 0xFF);
}

static void put32(struct rows *rows, uint32_t value)
{
    char bytes[4];
    set32(bytes, value);
    put(rows, bytes, sizeof bytes);
}

static void put64(struct rows *rows, int64_t value)
{
    put32(rows, 8);
    put32(rows, (uint32_t)((uint64_t)value >> 32));
    put32(rows, (uint32_t)((uint64_t)value & 0xFFFFFFFFu));
}

/* NULL stays NULL. */
static void put_value(struct rows *rows, struct outbox_str value)
{
    put32(rows, value.p ? (uint32_t)value.n : UINT32_MAX);
    put(rows, value.p, value.p ? (size_t)value.n : 0);
}

/* ---- headers: a JSON object of strings ---- */

static void put_json(struct rows *rows, struct outbox_str text)
{
    static const char hex[] = "0123456789abcdef";
    char *start = room(rows, 6 * (size_t)text.n + 2), *to = start;
    if (!to)
        return;
    *to++ = '"';
    for (uint64_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c < 0x20) {
            memcpy(to, "\\u00", 4);
            to[4] = hex[c >> 4];
            to[5] = hex[c & 15];
            to += 6;
            continue;
        }
        if (c == '"' || c == '\\')
            *to++ = '\\';
        *to++ = (char)c;
    }
    *to++ = '"';
    rows->n += (size_t)(to - start);
}

static void put_headers(struct rows *rows, const struct outbox_message *msg)
{
    size_t at = rows->n;
    put32(rows, 0);
    put(rows, "{", 1);
    for (uint64_t i = 0; i < msg->n_headers; i++) {
        put(rows, ",", i > 0);
        put_json(rows, msg->headers[i].name);
        put(rows, ":", 1);
        put_json(rows, msg->headers[i].value);
    }
    put(rows, "}", 1);
    if (!rows->failed)
        set32(rows->p + at, (uint32_t)(rows->n - at - 4));
}

/* ---- columns ---- */

static void put_cell(struct rows *rows, int column, const struct outbox_message *msg)
{
    switch (column) {
    case 0:
        put_value(rows, msg->id);
        break;
    case 1:
        put_value(rows, msg->topic);
        break;
    case 2:
        put_value(rows, msg->key);
        break;
    case 3:
        put_value(rows, msg->payload);
        break;
    case 4:
        put_headers(rows, msg);
        break;
    case 5:
        put64(rows, msg->created_us - EPOCH_US);
        break;
    default:
        put64(rows, msg->seq);
        break;
    }
}

bool rows_fill(struct rows *rows, const struct outbox_message *const *msgs, size_t n,
               const char *source)
{
    static const Oid members[ROWS_COLUMNS - 1] = {OID_TEXT, OID_TEXT,        OID_TEXT, OID_BYTEA,
                                                  OID_TEXT, OID_TIMESTAMPTZ, OID_INT8};
    rows->n = 0;
    rows->failed = false;
    for (int column = 0; column < ROWS_COLUMNS - 1; column++) {
        rows->at[column] = rows->n;
        put32(rows, 1); /* dimension */
        put32(rows, 1); /* there may be NULLs */
        put32(rows, members[column]);
        put32(rows, (uint32_t)n);
        put32(rows, 1); /* the first one's number */
        for (size_t i = 0; i < n; i++)
            put_cell(rows, column, msgs[i]);
        rows->lengths[column] = (int)(rows->n - rows->at[column]);
    }
    for (int column = 0; column < ROWS_COLUMNS - 1; column++)
        rows->values[column] = rows->failed ? NULL : rows->p + rows->at[column];
    rows->values[ROWS_COLUMNS - 1] = source;
    rows->lengths[ROWS_COLUMNS - 1] = source ? (int)strlen(source) : 0;
    return !rows->failed;
}

void rows_free(struct rows *rows)
{
    free(rows->p);
    memset(rows, 0, sizeof *rows);
}
