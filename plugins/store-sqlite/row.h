/* SPDX-License-Identifier: Apache-2.0 */
/* row.h - a row as a message; what cannot be published as it stands is marked, not dropped. And
 * which rows a person means (filter.c). */
#pragma once

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

/* The least seq of a page after this one; INT64_MIN is before the first, whatever seq that has. */
static inline int64_t filter_first(int64_t after)
{
    return after == INT64_MIN ? INT64_MIN : after + 1;
}

/* A statement: HEAD, which ends in a condition, then those of the filter, then TAIL. ?1 to ?3 are
 * the caller's. As db_query. */
int filter_query(struct store *s, const char *head, const struct outbox_filter *filter,
                 const char *tail, const struct outbox_arg *args, size_t n_args, sqlite3_stmt **ret,
                 struct outbox_err *err);
