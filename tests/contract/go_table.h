/* SPDX-License-Identifier: Apache-2.0 */
/* go_table.h - the table that the Go package `outbox` makes (enverbisevac/libs v0.9.1), and the
 * statements of its producer and its relay. */
#pragma once

#define GO_TABLE(name)                                            \
    "CREATE TABLE IF NOT EXISTS " name " (\n"                     \
    "\tid UUID PRIMARY KEY DEFAULT gen_random_uuid(),\n"          \
    "\ttopic TEXT NOT NULL,\n\tkey TEXT NOT NULL DEFAULT '',\n"   \
    "\tpayload BYTEA,\n\theaders JSONB DEFAULT '{}',\n"           \
    "\tstatus TEXT NOT NULL DEFAULT 'pending',\n"                 \
    "\tretries INTEGER NOT NULL DEFAULT 0,\n"                     \
    "\tlast_error TEXT NOT NULL DEFAULT '',\n"                    \
    "\tcreated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),\n"          \
    "\tprocessed_at TIMESTAMPTZ\n);\n\n"                          \
    "CREATE INDEX IF NOT EXISTS idx_" name "_pending\n\tON " name \
    " (created_at)\n\tWHERE status = 'pending'"

/* So many rows, the newest first, a second apart. */
#define GO_ROWS(name, n)                                                               \
    "INSERT INTO " name " (topic, payload, created_at) SELECT 'old', i::text::bytea, " \
    "timestamptz '2026-01-01' - i * interval '1 second' FROM generate_series(1, " n ") AS g(i)"

#define GO_CLAIM(name)                                                                \
    "UPDATE " name " SET status = 'processing' WHERE id IN (SELECT id FROM " name     \
    " WHERE status = 'pending' ORDER BY created_at LIMIT 100 FOR UPDATE SKIP LOCKED)" \
    " RETURNING id, topic, key, payload, headers, status, retries, last_error, created_at"
#define GO_SETTLE(name) \
    "UPDATE " name " SET status = 'processed', processed_at = NOW() WHERE id = ANY ($1::uuid[])"

/* An hour, as `outboxd init` has: building an index waits for everybody's transactions. */
#define LONG_CALL (&(struct outbox_call){sizeof(struct outbox_call), 3600000, -1, 0})
