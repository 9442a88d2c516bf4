/* SPDX-License-Identifier: Apache-2.0 */
/* failure.h - what went wrong, as a class for the host and a text for people. */
#pragma once

#include "connection/conn.h"

/* Both fill *err and conn->sqlstate, and return the class. Of a failed result; NULL: of the
 * connection `db`. */
int failure_of(struct conn *conn, const PGconn *db, const PGresult *result, struct outbox_err *err);
/* Of a SQLSTATE (NULL: none) and a text. */
int failure_set(struct conn *conn, const PGconn *db, const char *state, const char *text,
                struct outbox_err *err);

/* The rest is about the last failure of the call. Does its SQLSTATE begin so? */
bool failure_is(const struct conn *conn, const char *state);
/* Is it that a unique index on the column `id` alone refuses a row? */
bool failure_is_of_id(const struct conn *conn);
/* Is the connection of no more use after it? */
bool failure_ends_connection(const struct conn *conn);
/* May it be for a row, so that it would come again with this row, and would not without it? Never
 * after a lost connection, a time limit, a conflict, or a lack of the server's. */
bool failure_may_be_a_row(const struct conn *conn);
/* Can the server not read a row, or not send it? */
bool failure_is_unreadable_row(const struct conn *conn);
