/* SPDX-License-Identifier: Apache-2.0 */
/* row.c - a row as a message; what cannot be published as it stands is marked, not dropped. */
#include "common/headers.h"
#include "sqlite.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int take(struct arena *arena, sqlite3_stmt *statement, int column, struct outbox_str *ret)
{
    struct outbox_str text = db_column(statement, column);
    return arena_str(arena, text.p, (size_t)text.n, ret);
}

static int too_large(struct arena *arena, const char *what, int64_t n, uint64_t max,
                     struct outbox_str *ret)
{
    char text[128];
    int len =
        snprintf(text, sizeof text,
                 "the %s has %" PRId64 " bytes, more than max_message (%" PRIu64 ")", what, n, max);
    return arena_str(arena, text, (size_t)len, ret);
}

static int take_payload(struct arena *arena, sqlite3_stmt *statement, uint64_t max,
                        struct outbox_message *m)
{
    struct outbox_str payload = db_column(statement, ROW_PAYLOAD);
    int64_t length = sqlite3_column_int64(statement, 5);
    if (payload.p && payload.n <= max)
        return arena_str(arena, payload.p, (size_t)payload.n, &m->payload);
    if (!payload.p && sqlite3_column_type(statement, 5) == SQLITE_NULL)
        return 0;
    return too_large(arena, "payload", payload.p ? (int64_t)payload.n : length, max, &m->defect);
}

static int take_headers(struct arena *arena, sqlite3_stmt *statement, uint64_t max,
                        struct outbox_message *m)
{
    struct outbox_str headers = db_column(statement, 6), why = {NULL, 0};
    if (m->defect.p)
        return 0;
    if (headers.n > max)
        return too_large(arena, "headers column", (int64_t)headers.n, max, &m->defect);
    int r = headers_parse(headers.p, (size_t)headers.n, arena, &m->headers, &m->n_headers, &why);
    if (r > 0)
        m->defect = why;
    return r < 0 ? -1 : 0;
}

struct outbox_message *row_message(sqlite3_stmt *statement, struct arena *arena,
                                   uint64_t max_message)
{
    struct outbox_message *m = arena_array(arena, 1, sizeof *m);
    if (!m)
        return NULL;
    m->size = sizeof *m;
    m->seq = sqlite3_column_int64(statement, 0);
    if (take(arena, statement, 1, &m->row_id) < 0 || take(arena, statement, 2, &m->topic) < 0 ||
        take(arena, statement, 3, &m->key) < 0 ||
        take_payload(arena, statement, max_message, m) < 0 || take(arena, statement, 9, &m->id) < 0)
        return NULL;
    if (!m->id.p)
        m->id = m->row_id;
    if (take_headers(arena, statement, max_message, m) < 0)
        return NULL;
    int64_t retries = sqlite3_column_int64(statement, 7);
    m->retries = retries < 0 ? 0 : retries > UINT32_MAX ? UINT32_MAX : (uint32_t)retries;
    m->created_us = moment_column(statement, 8);
    m->handle = (uint64_t)m->seq;
    return m;
}
