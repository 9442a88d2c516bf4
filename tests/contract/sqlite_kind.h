/* SPDX-License-Identifier: Apache-2.0 */
/* sqlite_kind.h - an SQLite database in a scratch folder, for the tests of store-sqlite. */
#pragma once

#include "conform/store_contract.h"

#include <sqlite3.h>

extern const struct store_kind sqlite_kind;

/* A path in the case's folder; for free(). The database is shop.db. */
char *scratch(const char *name);
/* Later instances are to use this file of the case's folder. */
void use_path(struct outbox_cfg *cfg, const char *name);
/* A connection to a database in the case's folder. */
sqlite3 *open_db(const char *name);
void run_sql(sqlite3 *db, const char *sql);
int64_t one_number(sqlite3 *db, const char *sql);
/* The first column of all rows, a line each; for free(). */
char *all_lines(sqlite3 *db, const char *sql);
/* In a process of its own, which waits for a go and must end with 0. Closes all before. */
pid_t in_child(void (*run)(void));
void go(void); /* one child */
void await_child(pid_t pid);
