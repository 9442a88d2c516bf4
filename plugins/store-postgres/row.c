/* SPDX-License-Identifier: Apache-2.0 */
/* row.c - a row as a message, which points into the result; what cannot be published as it stands
 * is marked, not dropped. */
#include "headers.h"
#include "postgres.h"

#include <inttypes.h>
#include <stdio.h>

static int too_large(struct arena *arena, const char *what, uint64_t n, uint64_t max,
                     struct outbox_str *ret)
{
    char text[128];
    int len =
        snprintf(text, sizeof text,
                 "the %s has %" PRIu64 " bytes, more than max_message (%" PRIu64 ")", what, n, max);
    return arena_str(arena, text, (size_t)len, ret);
}

static int take_headers(const PGresult *rows, int row, struct arena *arena, uint64_t max,
                        struct outbox_message *m)
{
    struct outbox_str headers = column_text(rows, row, ROW_HEADERS), why = {NULL, 0};
    if (m->defect.p)
        return 0;
    if (headers.n > max)
        return too_large(arena, "headers column", headers.n, max, &m->defect);
    if (headers_parse(headers.p, (size_t)headers.n, arena, &m->headers, &m->n_headers, &why) < 0)
        m->defect = why;
    return 0;
}

uint64_t row_payload_bytes(const PGresult *rows, int row)
{
    int64_t n = column_int(rows, row, ROW_PAYLOAD_N);
    return PQgetisnull(rows, row, ROW_PAYLOAD_N) || n < 0 ? 0 : (uint64_t)n;
}

struct outbox_message *row_message(const PGresult *rows, int row, struct arena *arena,
                                   uint64_t max_message)
{
    struct outbox_message *m = arena_array(arena, 1, sizeof *m);
    if (!m)
        return NULL;
    int64_t retries = column_int(rows, row, 8);
    uint64_t bytes = row_payload_bytes(rows, row);
    m->size = sizeof *m;
    m->seq = column_int(rows, row, 0);
    m->handle = column_ctid(rows, row, 1);
    m->topic = column_text(rows, row, 3);
    m->key = column_text(rows, row, 4);
    m->payload = column_text(rows, row, ROW_PAYLOAD);
    m->retries = retries < 0 ? 0 : (uint32_t)retries;
    m->created_us = column_time(rows, row, 9);
    if (column_uuid(rows, row, 2, arena, &m->row_id) < 0 ||
        column_uuid(rows, row, 10, arena, &m->id) < 0)
        return NULL;
    if (!m->id.p)
        m->id = m->row_id;
    if (bytes > max_message && too_large(arena, "payload", bytes, max_message, &m->defect) < 0)
        return NULL;
    return take_headers(rows, row, arena, max_message, m) < 0 ? NULL : m;
}
