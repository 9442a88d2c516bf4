/* SPDX-License-Identifier: Apache-2.0 */
#include "claim/row.h"
#include "common/message_row.h"
#include "connection/pg_binary.h"

#include <outbox/helpers.h>

#include <inttypes.h>

/* Sizes are known before what has them is loaded. */
static int check_sizes(const PGresult *rows, int row, struct arena *arena, uint64_t max,
                       struct outbox_message *m)
{
    uint64_t payload = (uint64_t)pg_column_int(rows, row, ROW_PAYLOAD_N);
    uint64_t headers = (uint64_t)pg_column_int(rows, row, ROW_HEADERS_N);
    int64_t topic = pg_column_int(rows, row, ROW_TOPIC_N);
    int64_t key = pg_column_int(rows, row, ROW_KEY_N);
    if (topic > ROW_TEXT_MAX || key > ROW_TEXT_MAX) {
        char text[80];
        int n = snprintf(text, sizeof text, "the %s has %" PRId64 " bytes, more than %d",
                         topic > ROW_TEXT_MAX ? "topic" : "key", topic > ROW_TEXT_MAX ? topic : key,
                         ROW_TEXT_MAX);
        return arena_str(arena, text, (size_t)n, &m->defect);
    }
    return payload > max   ? message_row_too_large("payload", payload, max, arena, m)
           : headers > max ? message_row_too_large("headers column", headers, max, arena, m)
                           : OUTBOX_OK;
}

int row_mark_unreadable(struct arena *arena, const char *why, struct outbox_message *m)
{
    char text[600];
    int n = snprintf(text, sizeof text, "the row cannot be read: %s", why);
    return arena_str(arena, text, (size_t)n, &m->defect);
}

uint64_t row_bytes(const PGresult *rows, int row, bool *ret_left_out)
{
    *ret_left_out =
        (PQgetisnull(rows, row, ROW_PAYLOAD) && !PQgetisnull(rows, row, ROW_PAYLOAD_N)) ||
        (PQgetisnull(rows, row, ROW_HEADERS) && !PQgetisnull(rows, row, ROW_HEADERS_N));
    return (uint64_t)(pg_column_int(rows, row, ROW_PAYLOAD_N) +
                      pg_column_int(rows, row, ROW_HEADERS_N));
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
        check_sizes(rows, row, arena, max_message, m) < 0 ||
        message_row_headers(pg_column_text(rows, row, ROW_HEADERS), max_message, arena, m) < 0)
        return NULL;
    if (!m->id.p)
        m->id = m->row_id;
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
