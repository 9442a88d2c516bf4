/* SPDX-License-Identifier: Apache-2.0 */
/* init.h - makes or upgrades the tables, or writes the statements that do. */
#ifndef STORE_POSTGRES_SCHEMA_INIT_H
#define STORE_POSTGRES_SCHEMA_INIT_H

#include "connection/conn.h"

/* `text` is one line for people on what was done. */
int init_table(struct conn *conn, bool notify, const struct outbox_call *call, char *text,
               size_t cap, struct outbox_err *err);
/* For a migration tool; needs no connection. */
int init_render(const struct conn *conn, bool notify, const struct outbox_exec *exec,
                struct outbox_err *err);

#endif
