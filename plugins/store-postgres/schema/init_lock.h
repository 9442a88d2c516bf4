/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init_lock.h - of several that init a table at the same time one goes on, and the others wait and
 * find it done. Building indexes must not be inside of a transaction, and behind a pooler there is
 * no session; so the lock is held by a transaction of another connection.
 */
#ifndef STORE_POSTGRES_SCHEMA_INIT_LOCK_H
#define STORE_POSTGRES_SCHEMA_INIT_LOCK_H

#include "connection/conn.h"

/* `lock` is a connection to where `conn` is, within its deadline. It ends with conn_free, in any
 * case. */
int init_lock_begin(struct conn *lock, const struct conn *conn, struct outbox_err *err);

#endif
