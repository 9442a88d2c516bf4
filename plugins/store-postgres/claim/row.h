/* SPDX-License-Identifier: Apache-2.0 */
/* row.h - a row as a message, which points into the result; what cannot be published as it stands
 * is marked, not dropped. */
#pragma once

#include "common/arena.h"

#include <outbox/plugin.h>

#include <libpq-fe.h>
#include <stdbool.h>

/* Topics and keys of more bytes are not loaded, nor published. */
#define ROW_TEXT_MAX 65536

/* The columns that row_message reads, in its order; payload and headers only up to $1 bytes.
 * Headers that are stored in very little are not large, and need not be measured: a number takes
 * ten bytes to store, and a hundred thousand to write. */
#define ROW_COLUMNS                                                                 \
    "m.seq, m.ctid, m.id,"                                                          \
    " CASE WHEN pg_catalog.octet_length(m.topic) <= 65536 THEN m.topic"             \
    "  ELSE pg_catalog.left(m.topic, 1000) END, pg_catalog.octet_length(m.topic),"  \
    " CASE WHEN pg_catalog.octet_length(m.key) <= 65536 THEN m.key"                 \
    "  ELSE pg_catalog.left(m.key, 1000) END, pg_catalog.octet_length(m.key),"      \
    " CASE WHEN pg_catalog.octet_length(m.payload) <= $1 THEN m.payload END,"       \
    " pg_catalog.octet_length(m.payload),"                                          \
    " CASE WHEN pg_catalog.pg_column_size(m.headers) <= 64"                         \
    "  OR pg_catalog.octet_length(m.headers::text) <= $1 THEN m.headers::text END," \
    " CASE WHEN pg_catalog.pg_column_size(m.headers) > 64"                          \
    "  THEN pg_catalog.octet_length(m.headers::text) END,"                          \
    " m.retries, m.created_at, m.origin_id"
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
    ROW_HEADERS_N, /* NULL: small */
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

/* What its payload and its headers, if they are large, have together, loaded or not. */
uint64_t row_bytes(const PGresult *rows, int row, bool *ret_left_out);
/* NULL without memory. Texts point into the result. */
struct outbox_message *row_message(const PGresult *rows, int row, struct arena *arena,
                                   uint64_t max_message);
/* The index of the message with this seq in an array sorted by seq, or n. */
uint32_t row_find(const struct outbox_message *const *messages, uint32_t n, int64_t seq);
/* Why is the message's defect. OUTBOX_E_RETRY without memory. */
int row_mark_unreadable(struct arena *arena, const char *why, struct outbox_message *m);
