/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_POSTGRES_CONNECTION_CONNECT_H
#define STORE_POSTGRES_CONNECTION_CONNECT_H

#include "connection/conn.h"

/* Does conninfo make sense? OUTBOX_E_CONFIG; shows nothing of it. */
int connect_check_conninfo(const char *option, const char *conninfo, struct outbox_err *err);
/* Connects within the call's deadline; `purpose`, a literal, is the application_name unless
 * conninfo has one. */
int connect_open(struct conn *conn, const char *purpose, struct outbox_err *err);

#endif
