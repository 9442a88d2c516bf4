/* SPDX-License-Identifier: Apache-2.0 */
/* row.h - a row as a message, which points into the result; what cannot be published as it stands
 * is marked, not dropped. */
#pragma once

#include "common/message_row.h"

#include <outbox/plugin.h>

#include <libpq-fe.h>
#include <stdbool.h>

/*
 * The columns that row_message reads, in its order. A payload comes if it has $1 bytes at most; of
 * a longer topic or key, and of headers, come the first characters (a cast to varchar costs nothing
 * if nothing is cut). How many bytes headers have as text is known only when they are made text,
 * which takes long for large ones: those that are stored in more bytes than `stored` do not come at
 * all. How many they are stored in is known without reading them.
 */
#define ROW_COLUMNS_OF(text, headers, stored)                                     \
    "m.seq, m.ctid, m.id,"                                                        \
    " CASE WHEN pg_catalog.octet_length(m.topic) <= " #text " THEN m.topic"       \
    "  ELSE pg_catalog.left(m.topic, 500) END, pg_catalog.octet_length(m.topic)," \
    " CASE WHEN pg_catalog.octet_length(m.key) <= " #text " THEN m.key"           \
    "  ELSE pg_catalog.left(m.key, 500) END, pg_catalog.octet_length(m.key),"     \
    " CASE WHEN pg_catalog.octet_length(m.payload) <= $1 THEN m.payload END,"     \
    " pg_catalog.octet_length(m.payload),"                                        \
    " CASE WHEN pg_catalog.pg_column_size(m.headers) <= " #stored                 \
    "  THEN m.headers::text::pg_catalog.varchar(" #headers ") END,"               \
    " pg_catalog.pg_column_size(m.headers), m.retries, m.created_at, m.origin_id"

/* Those of a claim; headers of more bytes are not whole. What is longer is loaded when it is known
 * that it fits into the batch. */
#define ROW_HEADERS_MAX 8192
#define ROW_COLUMNS ROW_COLUMNS_OF(2000, 8193, 65536)
enum row_column {
    ROW_SEQ,
    ROW_CTID,
    ROW_ID,
    ROW_TOPIC,
    ROW_TOPIC_N,
    ROW_KEY,
    ROW_KEY_N,
    ROW_PAYLOAD,
    ROW_PAYLOAD_N,
    ROW_HEADERS,
    ROW_HEADERS_STORED,
    ROW_RETRIES,
    ROW_CREATED,
    ROW_ORIGIN,
    ROW_N_COLUMNS
};
/* In place of ROW_COLUMNS for a row that cannot be read: what it has in any case. $1 is not used.
 */
#define UNREADABLE_COLUMNS                                                                \
    "m.seq, m.ctid, m.id, ''::text, 0::int4, ''::text, 0::int4, NULL::bytea, NULL::int4," \
    " NULL::text, NULL::int4, m.retries, m.created_at, m.origin_id"

/* What its columns have, loaded or not; headers that did not come whole have max_header_bytes, or
 * are certainly over it. `headers_max`: the same as in the columns. */
struct message_sizes row_sizes(const PGresult *rows, int row, uint64_t headers_max,
                               const struct message_limits *limits);
/* NULL without memory. Texts point into the result. What did not come whole is missing, or cut;
 * *ret_whole tells. */
struct outbox_message *row_message(const PGresult *rows, int row, uint64_t headers_max,
                                   const struct message_limits *limits, struct arena *arena,
                                   bool *ret_whole);
/* The index of the message with this seq in an array sorted by seq, or n. */
uint32_t row_find(const struct outbox_message *const *messages, uint32_t n, int64_t seq);
/* Why is the message's defect. OUTBOX_E_RETRY without memory. */
int row_mark_unreadable(struct arena *arena, const char *why, struct outbox_message *m);
