/* SPDX-License-Identifier: Apache-2.0 */
/* filter.h - which rows a person means, as the conditions of a statement. */
#ifndef STORE_SQLITE_FILTER_H
#define STORE_SQLITE_FILTER_H

#include "store.h"

/* A statement: HEAD, which ends in a condition, then those of the filter, then TAIL. ?1 to ?3 are
 * the caller's. As db_query. */
int filter_query(struct store *s, const char *head, const struct outbox_filter *filter,
                 const char *tail, const struct outbox_arg *args, size_t n_args, sqlite3_stmt **ret,
                 struct outbox_err *err);

#endif
