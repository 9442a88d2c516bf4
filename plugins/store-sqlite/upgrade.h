/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upgrade.h - a table of the ten-column form becomes ours: built anew beside it, filled in the
 * order of creation, and put in its place, all in one transaction. Producers wait meanwhile.
 */
#ifndef STORE_SQLITE_UPGRADE_H
#define STORE_SQLITE_UPGRADE_H

#include "store.h"

/* Within a transaction. *ret_rows: how many rows the table has. */
int upgrade(struct store *s, int64_t *ret_rows, struct outbox_err *err);
/* OUTBOX_E_CONFIG: building the table anew would lose something that was added to it. */
int upgrade_check(struct store *s, struct outbox_err *err);

#endif
