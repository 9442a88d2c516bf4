/* SPDX-License-Identifier: Apache-2.0 */
/* claim_sql.h - which rows a claim takes; for the statements of both modes. */
#ifndef STORE_POSTGRES_CLAIM_CLAIM_SQL_H
#define STORE_POSTGRES_CLAIM_CLAIM_SQL_H

#define READY "m.status = 'pending' AND m.available_at IS NULL AND m.lane IS NULL"
#define DELAYED "m.status = 'pending' AND m.available_at IS NOT NULL AND m.lane IS NULL"
#define DUE DELAYED " AND m.available_at <= statement_timestamp()"

/* $1 is inline_max, of ROW_COLUMNS; $2 are rows to avoid. Fresh rows: behind $3, up to $4, $5 at
 * most. */
#define FRESH_ROWS                                                               \
    READY " AND m.seq <> ALL ($2) AND m.seq > $3 AND m.seq <= $4 ORDER BY m.seq" \
          " LIMIT $5 FOR UPDATE SKIP LOCKED"
/* Rows that waited for a time which has come: $3 at most. */
#define DUE_ROWS \
    DUE " AND m.seq <> ALL ($2) ORDER BY m.available_at LIMIT $3 FOR UPDATE SKIP LOCKED"
/* Of the rows $2 those that can be claimed. */
#define THESE_ROWS                                                        \
    "m.status = 'pending' AND m.lane IS NULL AND (m.available_at IS NULL" \
    " OR m.available_at <= statement_timestamp()) AND m.seq = ANY ($2) FOR UPDATE SKIP LOCKED"

#endif
