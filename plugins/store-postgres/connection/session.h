/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - the settings that our statements need. A session of our own gets them once; behind a
 * pooler in transaction mode the session is everybody's, and each transaction gets them for itself.
 */
#ifndef STORE_POSTGRES_CONNECTION_SESSION_H
#define STORE_POSTGRES_CONNECTION_SESSION_H

#include "connection/conn.h"

/* A statement with the settings that the next ones need, in scratch; *ret NULL: they are in force.
 */
int session_settings(struct conn *conn, const char **ret, struct outbox_err *err);
/* Perhaps they are not. */
void session_forget(struct conn *conn);

#endif
