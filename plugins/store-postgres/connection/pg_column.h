/* SPDX-License-Identifier: Apache-2.0 */
/* pg_column.h - the columns of a binary result (the *send functions of PostgreSQL's
 * src/backend/utils/adt). */
#ifndef STORE_POSTGRES_CONNECTION_PG_COLUMN_H
#define STORE_POSTGRES_CONNECTION_PG_COLUMN_H

#include "common/arena.h"

#include <libpq-fe.h>

int64_t pg_column_int(const PGresult *rows, int row,
                      int column); /* 2, 4, 8 bytes, boolean; NULL: 0 */
struct outbox_str pg_column_text(const PGresult *rows, int row, int column); /* NULL: p NULL */
int64_t pg_column_time(const PGresult *rows, int row, int column);           /* us; NULL: 0 */
uint64_t pg_column_ctid(const PGresult *rows, int row, int column);
/* A UUID as text of 36 characters in the arena. OUTBOX_E_RETRY without memory. */
int pg_column_uuid(const PGresult *rows, int row, int column, struct arena *arena,
                   struct outbox_str *ret);

#endif
