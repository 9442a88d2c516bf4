/* SPDX-License-Identifier: Apache-2.0 */
#include "claim/row.h"
#include "connection/pg_binary.h"

#include <outbox/helpers.h>

#include <stdio.h>

/* A text has a third of the bytes at least in which its jsonb is stored: the entry of a member has
 * eight, a number eight or more, and their signs in the text are few. */
#define STORED_FOR_TEXT 4

int row_mark_unreadable(struct arena *arena, const char *why, struct outbox_message *m)
{
    char text[600];
    int n = snprintf(text, sizeof text, "the row cannot be read: %s", why);
    return arena_str(arena, text, (size_t)n, &m->defect);
}

static bool has_headers(const PGresult *rows, int row, uint64_t headers_max)
{
    return PQgetisnull(rows, row, ROW_HEADERS_STORED) ||
           (!PQgetisnull(rows, row, ROW_HEADERS) &&
            (uint64_t)PQgetlength(rows, row, ROW_HEADERS) <= headers_max);
}

struct message_sizes row_sizes(const PGresult *rows, int row, uint64_t headers_max,
                               const struct message_limits *limits)
{
    uint64_t headers = (uint64_t)PQgetlength(rows, row, ROW_HEADERS);
    uint64_t stored = (uint64_t)pg_column_int(rows, row, ROW_HEADERS_STORED);
    if (!has_headers(rows, row, headers_max))
        headers =
            stored / STORED_FOR_TEXT > limits->max_header_bytes ? stored : limits->max_header_bytes;
    return (struct message_sizes){
        .topic = (uint64_t)pg_column_int(rows, row, ROW_TOPIC_N),
        .key = (uint64_t)pg_column_int(rows, row, ROW_KEY_N),
        .payload = (uint64_t)pg_column_int(rows, row, ROW_PAYLOAD_N),
        .headers = headers,
    };
}

static bool is_whole(const struct outbox_message *m, const struct message_sizes *sizes,
                     bool has_all_headers)
{
    return m->topic.n == sizes->topic && m->key.n == sizes->key && m->payload.n == sizes->payload &&
           has_all_headers;
}

struct outbox_message *row_message(const PGresult *rows, int row, uint64_t headers_max,
                                   const struct message_limits *limits, struct arena *arena,
                                   bool *ret_whole)
{
    struct outbox_message *m = arena_array(arena, 1, sizeof *m);
    if (!m)
        return NULL;
    struct message_sizes sizes = row_sizes(rows, row, headers_max, limits);
    bool has_all_headers = has_headers(rows, row, headers_max);
    int64_t retries = pg_column_int(rows, row, ROW_RETRIES);
    m->size = sizeof *m;
    m->seq = pg_column_int(rows, row, ROW_SEQ);
    m->handle = pg_column_ctid(rows, row, ROW_CTID);
    m->topic = pg_column_text(rows, row, ROW_TOPIC);
    m->key = pg_column_text(rows, row, ROW_KEY);
    m->payload = pg_column_text(rows, row, ROW_PAYLOAD);
    m->retries = retries < 0 ? 0 : (uint32_t)retries;
    m->created_us = pg_column_time(rows, row, ROW_CREATED);
    *ret_whole = is_whole(m, &sizes, has_all_headers);
    if (pg_column_uuid(rows, row, ROW_ID, arena, &m->row_id) < 0 ||
        pg_column_uuid(rows, row, ROW_ORIGIN, arena, &m->id) < 0 ||
        message_row_check(&sizes, limits, arena, m) < 0 ||
        (has_all_headers &&
         message_row_headers(pg_column_text(rows, row, ROW_HEADERS), limits, arena, m) < 0))
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
