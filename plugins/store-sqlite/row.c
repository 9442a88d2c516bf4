/* SPDX-License-Identifier: Apache-2.0 */
#include "row.h"

#include "common/message_row.h"
#include "db.h"

int row_text(sqlite3_stmt *q, int column, struct arena *arena, struct outbox_str *ret)
{
    struct outbox_str text = db_column(q, column);
    return arena_str(arena, text.p, (size_t)text.n, ret);
}

/* A text in place of the bytes has more of them than length() says, which counts characters. */
static int take_payload(sqlite3_stmt *q, uint64_t max, struct arena *arena,
                        struct outbox_message *m)
{
    uint64_t loaded = db_column(q, ROW_PAYLOAD).n;
    uint64_t length = (uint64_t)sqlite3_column_int64(q, ROW_PAYLOAD_N); /* 0 for NULL */
    uint64_t n = loaded ? loaded : length;
    return n > max ? message_row_too_large("payload", n, max, arena, m)
                   : row_text(q, ROW_PAYLOAD, arena, &m->payload);
}

int row_message(sqlite3_stmt *q, uint64_t max_message, struct arena *arena,
                struct outbox_message **ret)
{
    struct outbox_message *m = arena_array(arena, 1, sizeof *m);
    if (!m || row_text(q, ROW_ID, arena, &m->row_id) < 0 ||
        row_text(q, ROW_TOPIC, arena, &m->topic) < 0 || row_text(q, ROW_KEY, arena, &m->key) < 0 ||
        row_text(q, ROW_ORIGIN_ID, arena, &m->id) < 0 ||
        take_payload(q, max_message, arena, m) < 0 ||
        message_row_headers(db_column(q, ROW_HEADERS), max_message, arena, m) < 0)
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
