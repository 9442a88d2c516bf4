/* SPDX-License-Identifier: Apache-2.0 */
#include "row.h"

#include "db.h"

int row_text(sqlite3_stmt *q, int column, struct arena *arena, struct outbox_str *ret)
{
    struct outbox_str text = db_column(q, column);
    return arena_str(arena, text.p, (size_t)text.n, ret);
}

static uint64_t size_of(sqlite3_stmt *q, enum row_column n)
{
    return (uint64_t)sqlite3_column_int64(q, n); /* 0 for NULL */
}

/* A text in place of the bytes has more of them than length() says, which counts characters. */
struct message_sizes row_sizes(sqlite3_stmt *q)
{
    uint64_t loaded = db_column(q, ROW_PAYLOAD).n, length = size_of(q, ROW_PAYLOAD_N);
    return (struct message_sizes){.id = size_of(q, ROW_ID_N),
                                  .topic = size_of(q, ROW_TOPIC_N),
                                  .key = size_of(q, ROW_KEY_N),
                                  .payload = loaded ? loaded : length,
                                  .headers = size_of(q, ROW_HEADERS_N)};
}

static int take_columns(sqlite3_stmt *q, struct arena *arena, struct outbox_message *m)
{
    bool over = m->defect.p != NULL;
    return row_text(q, ROW_ID, arena, &m->row_id) < 0 ||
                   row_text(q, ROW_TOPIC, arena, &m->topic) < 0 ||
                   row_text(q, ROW_KEY, arena, &m->key) < 0 ||
                   row_text(q, ROW_ORIGIN_ID, arena, &m->id) < 0 ||
                   (!over && row_text(q, ROW_PAYLOAD, arena, &m->payload) < 0)
               ? OUTBOX_E_RETRY
               : OUTBOX_OK;
}

int row_message(sqlite3_stmt *q, const struct message_limits *limits, struct arena *arena,
                struct outbox_message **ret)
{
    struct outbox_message *m = arena_array(arena, 1, sizeof *m);
    struct message_sizes sizes = row_sizes(q);
    if (!m || message_row_check(&sizes, limits, arena, m) < 0 || take_columns(q, arena, m) < 0 ||
        message_row_headers(db_column(q, ROW_HEADERS), limits, arena, m) < 0)
        return OUTBOX_E_RETRY;
    if (!m->id.p)
        m->id = m->row_id;
    int64_t retries = sqlite3_column_int64(q, ROW_RETRIES);
    m->size = sizeof *m;
    m->seq = sqlite3_column_int64(q, ROW_SEQ);
    m->handle = (uint64_t)m->seq;
    m->retries = retries < 0 ? 0 : retries > UINT32_MAX ? UINT32_MAX : (uint32_t)retries;
    m->created_us = timestamp_column(q, ROW_CREATED_AT);
    *ret = m;
    return OUTBOX_OK;
}
