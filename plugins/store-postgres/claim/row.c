/* SPDX-License-Identifier: Apache-2.0 */
#include "claim/row.h"
#include "common/headers.h"
#include "connection/pg_column.h"

#include <outbox/helpers.h>

#include <inttypes.h>

static int too_large(struct arena *arena, const char *what, uint64_t n, uint64_t max,
                     struct outbox_str *ret)
{
    char text[128];
    int len =
        snprintf(text, sizeof text,
                 "the %s has %" PRIu64 " bytes, more than max_message (%" PRIu64 ")", what, n, max);
    return arena_str(arena, text, (size_t)len, ret);
}

/* A size that came as a column; 0 for NULL. */
static uint64_t size_of(const PGresult *rows, int row, int column)
{
    int64_t n = PQgetisnull(rows, row, column) ? 0 : pg_column_int(rows, row, column);
    return n < 0 ? 0 : (uint64_t)n;
}

int row_headers(struct outbox_str text, uint64_t max, struct arena *arena, struct outbox_message *m)
{
    struct outbox_str why = {NULL, 0};
    if (text.n > max)
        return too_large(arena, "headers column", text.n, max, &m->defect);
    int r = headers_parse(text.p, (size_t)text.n, arena, &m->headers, &m->n_headers, &why);
    if (r > 0)
        m->defect = why;
    return r < 0 ? OUTBOX_E_RETRY : OUTBOX_OK;
}

/* Sizes are known before what has them is loaded. */
static int check_sizes(const PGresult *rows, int row, struct arena *arena, uint64_t max,
                       struct outbox_message *m)
{
    uint64_t payload = size_of(rows, row, ROW_PAYLOAD_N), topic = size_of(rows, row, ROW_TOPIC_N);
    uint64_t headers = size_of(rows, row, ROW_HEADERS_N), key = size_of(rows, row, ROW_KEY_N);
    if (topic > ROW_TEXT_MAX || key > ROW_TEXT_MAX) {
        char text[80];
        int n = snprintf(text, sizeof text, "the %s has %" PRIu64 " bytes, more than %d",
                         topic > ROW_TEXT_MAX ? "topic" : "key", topic > ROW_TEXT_MAX ? topic : key,
                         ROW_TEXT_MAX);
        return arena_str(arena, text, (size_t)n, &m->defect);
    }
    return payload > max   ? too_large(arena, "payload", payload, max, &m->defect)
           : headers > max ? too_large(arena, "headers column", headers, max, &m->defect)
                           : 0;
}

int row_mark_unreadable(struct arena *arena, const char *why, struct outbox_message *m,
                        struct outbox_err *err)
{
    char text[600];
    int n = snprintf(text, sizeof text, "the row cannot be read: %s", why);
    return arena_str(arena, text, (size_t)n, &m->defect) < 0
               ? outbox_fail(err, OUTBOX_E_RETRY, "out of memory")
               : OUTBOX_OK;
}

uint64_t row_bytes(const PGresult *rows, int row, bool *ret_left_out)
{
    *ret_left_out =
        (PQgetisnull(rows, row, ROW_PAYLOAD) && !PQgetisnull(rows, row, ROW_PAYLOAD_N)) ||
        (PQgetisnull(rows, row, ROW_HEADERS) && !PQgetisnull(rows, row, ROW_HEADERS_N));
    return size_of(rows, row, ROW_PAYLOAD_N) + size_of(rows, row, ROW_HEADERS_N);
}

struct outbox_message *row_message(const PGresult *rows, int row, struct arena *arena,
                                   uint64_t max_message)
{
    struct outbox_message *m = arena_array(arena, 1, sizeof *m);
    if (!m)
        return NULL;
    int64_t retries = pg_column_int(rows, row, ROW_RETRIES);
    m->size = sizeof *m;
    m->seq = pg_column_int(rows, row, ROW_SEQ);
    m->handle = pg_column_ctid(rows, row, ROW_CTID);
    m->topic = pg_column_text(rows, row, ROW_TOPIC);
    m->key = pg_column_text(rows, row, ROW_KEY);
    m->payload = pg_column_text(rows, row, ROW_PAYLOAD);
    m->retries = retries < 0 ? 0 : (uint32_t)retries;
    m->created_us = pg_column_time(rows, row, ROW_CREATED);
    if (pg_column_uuid(rows, row, ROW_ID, arena, &m->row_id) < 0 ||
        pg_column_uuid(rows, row, ROW_ORIGIN, arena, &m->id) < 0 ||
        check_sizes(rows, row, arena, max_message, m) < 0)
        return NULL;
    if (!m->id.p)
        m->id = m->row_id;
    if (!m->defect.p &&
        row_headers(pg_column_text(rows, row, ROW_HEADERS), max_message, arena, m) < 0)
        return NULL;
    return m;
}

uint32_t row_find(const struct outbox_message *const *messages, uint32_t n, int64_t seq)
{
    uint32_t low = 0, high = n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (messages[middle]->seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && messages[low]->seq == seq ? low : n;
}
