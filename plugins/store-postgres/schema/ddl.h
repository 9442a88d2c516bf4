/* SPDX-License-Identifier: Apache-2.0 */
/* ddl.h - runs lists of statements, each ending with NULL, that change the schema. */
#ifndef STORE_POSTGRES_SCHEMA_DDL_H
#define STORE_POSTGRES_SCHEMA_DDL_H

#include "connection/conn.h"
#include "schema/statements.h"

int ddl_run(struct conn *conn, const char *const *statements, struct outbox_err *err);
/* In one transaction that waits for its locks a little at a time, so that others do not queue. */
int ddl_run_patiently(struct conn *conn, const char *const *statements, struct outbox_err *err);
/* Begins such a transaction. */
int ddl_begin_patiently(struct conn *conn, struct outbox_err *err);
/* After r and *err: waits, and true when the same is worth another try. */
bool ddl_try_again(struct conn *conn, int r, const struct outbox_err *err);
/* CREATE INDEX, `how` being "" or "CONCURRENTLY "; for free(), NULL without memory. */
char *ddl_index(const struct statements_index *index, const char *how);

#endif
