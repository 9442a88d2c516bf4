/* SPDX-License-Identifier: Apache-2.0 */
/* connect.h - how a call begins: its deadline, and a connection, which is made when needed. */
#ifndef STORE_SQLITE_CONNECT_H
#define STORE_SQLITE_CONNECT_H

#include "store.h"

/* Begins a call, on a database whose table fits. */
int connect_enter(struct store *s, const struct outbox_call *call, struct outbox_err *err);
/* The same, and begins a transaction that writes. */
int connect_begin(struct store *s, const struct outbox_call *call, struct outbox_err *err);
/* Begins a call of init: the file may be made, the table may be missing. */
int connect_enter_init(struct store *s, const struct outbox_call *call, struct outbox_err *err);

#endif
