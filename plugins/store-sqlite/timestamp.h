/* SPDX-License-Identifier: Apache-2.0 */
/* timestamp.h - times as the table has them, and as others may have written them. */
#ifndef STORE_SQLITE_TIMESTAMP_H
#define STORE_SQLITE_TIMESTAMP_H

#include <sqlite3.h>
#include <stdint.h>

#define TIMESTAMP_SIZE 32
/* 2026-11-23 19:47:00.123, as the table has it; returns out. */
const char *timestamp_format(int64_t us, char out[TIMESTAMP_SIZE]);
/* Any form that SQLite takes for a date, or a number; 0 when it cannot be read. */
int64_t timestamp_column(sqlite3_stmt *q, int column);
/* The SQL function outbox_timestamp(X): the same, of any value. */
void timestamp_sql(sqlite3_context *context, int n, sqlite3_value **values);

#endif
