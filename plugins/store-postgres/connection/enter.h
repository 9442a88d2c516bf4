/* SPDX-License-Identifier: Apache-2.0 */
/* enter.h - the beginning of a call. */
#ifndef STORE_POSTGRES_CONNECTION_ENTER_H
#define STORE_POSTGRES_CONNECTION_ENTER_H

#include "connection/conn.h"

/* Sets the call's deadline, and notices whether the server has hung up. Connects to nothing. */
void enter_resume(struct conn *conn, const struct outbox_call *call);
/* The same, and connects if there is no connection. */
int enter_connected(struct conn *conn, const struct outbox_call *call, struct outbox_err *err);
/* Connects under that name, within the deadline that is set. */
int enter_connect(struct conn *conn, const char *purpose, struct outbox_err *err);

#endif
