/* SPDX-License-Identifier: Apache-2.0 */
/* check.h - does the table exist, in a form that this version works on? */
#ifndef STORE_POSTGRES_SCHEMA_CHECK_H
#define STORE_POSTGRES_SCHEMA_CHECK_H

#include "connection/conn.h"

enum check_form { FORM_MISSING, FORM_OLD, FORM_OURS };
enum check_trigger { TRIGGER_MISSING, TRIGGER_DISABLED, TRIGGER_ENABLED };

/* Begins a call: its deadline, and a connection to a database whose table passed check_table. */
int check_enter(struct conn *conn, bool notify, const struct outbox_call *call,
                struct outbox_err *err);

/* OK, or OUTBOX_E_CONFIG with what to do. `notify`: the trigger has to be there. */
int check_table(struct conn *conn, bool notify, struct outbox_err *err);
/* Finds the table and its schema. */
int check_find(struct conn *conn, enum check_form *ret, struct outbox_err *err);
int check_version(struct conn *conn, struct outbox_err *err);
int check_trigger(struct conn *conn, enum check_trigger *ret, struct outbox_err *err);

#endif
