/* SPDX-License-Identifier: Apache-2.0 */
/* row.h - a row as a message; what cannot be published as it stands is marked, not dropped. And
 * which rows a person means (filter.c). */
#pragma once

#include "common/message_row.h"
#include "store.h"

/*
 * The columns that row_message reads; of those that have bytes, how many, too. Payloads and headers
 * come up to the given bytes, parameters of the statement, and of longer texts the first
 * characters. octet_length() reads no column for it, from SQLite 3.43 on; length() reads no BLOB,
 * but it counts the characters of a text.
 */
#define ROW_COLUMNS(max_message, max_header_bytes)                                       \
    "seq, CASE WHEN octet_length(id) <= 65536 THEN id ELSE substr(id, 1, 500) END,"      \
    " octet_length(id),"                                                                 \
    " CASE WHEN octet_length(topic) <= 65536 THEN topic ELSE substr(topic, 1, 500) END," \
    " octet_length(topic),"                                                              \
    " CASE WHEN octet_length(key) <= 65536 THEN key ELSE substr(key, 1, 500) END,"       \
    " octet_length(key),"                                                                \
    " CASE WHEN length(payload) <= " max_message " THEN payload END, length(payload),"   \
    " CASE WHEN octet_length(headers) <= " max_header_bytes " THEN headers END,"         \
    " octet_length(headers), retries,"                                                   \
    " CASE WHEN octet_length(created_at) <= 100 THEN created_at END,"                    \
    " CASE WHEN octet_length(origin_id) <= 65536 THEN origin_id END"
enum row_column {
    ROW_SEQ,
    ROW_ID,
    ROW_ID_N,
    ROW_TOPIC,
    ROW_TOPIC_N,
    ROW_KEY,
    ROW_KEY_N,
    ROW_PAYLOAD,
    ROW_PAYLOAD_N,
    ROW_HEADERS,
    ROW_HEADERS_N,
    ROW_RETRIES,
    ROW_CREATED_AT,
    ROW_ORIGIN_ID,
    ROW_N_COLUMNS
};

/* What the columns have, loaded or not. */
struct message_sizes row_sizes(sqlite3_stmt *q);
/* The message in the arena, as is everything of it. */
int row_message(sqlite3_stmt *q, const struct message_limits *limits, struct arena *arena,
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
