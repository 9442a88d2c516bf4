/* SPDX-License-Identifier: Apache-2.0 */
/* row.h - a row as a message; what cannot be published as it stands is marked, not dropped. */
#ifndef STORE_SQLITE_ROW_H
#define STORE_SQLITE_ROW_H

#include "store.h"

/* The columns that row_message reads; a payload over ?1 bytes is not loaded. */
#define ROW_COLUMNS                                                                   \
    "seq, id, topic, key, CASE WHEN length(payload) > ?1 THEN NULL ELSE payload END," \
    " length(payload), headers, retries, created_at, origin_id"
enum row_column {
    ROW_SEQ,
    ROW_ID,
    ROW_TOPIC,
    ROW_KEY,
    ROW_PAYLOAD,
    ROW_PAYLOAD_N,
    ROW_HEADERS,
    ROW_RETRIES,
    ROW_CREATED_AT,
    ROW_ORIGIN_ID,
    ROW_N_COLUMNS
};

/* The message in the arena, as is everything of it. */
int row_message(sqlite3_stmt *q, uint64_t max_message, struct arena *arena,
                struct outbox_message **ret);
/* A copy of a column. */
int row_text(sqlite3_stmt *q, int column, struct arena *arena, struct outbox_str *ret);

#endif
