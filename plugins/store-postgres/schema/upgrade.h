/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_POSTGRES_SCHEMA_UPGRADE_H
#define STORE_POSTGRES_SCHEMA_UPGRADE_H

#include "connection/conn.h"

/* The table of ten columns, which check_find found, becomes ours; how many rows got a number. */
int upgrade_old(struct conn *conn, int64_t *ret_rows, struct outbox_err *err);

#endif
