/* SPDX-License-Identifier: Apache-2.0 */
/* postgres_kind.h - a schema of its own in a PostgreSQL database, for the tests of store-postgres.
 */
#pragma once

#include "conform/store_contract.h"

#include <libpq-fe.h>

/* How the plugin reaches the database and holds rows; from the program's name, see there. */
extern struct postgres_way {
    const char *conninfo;
    const char *claim;
    const char *notify;
} way;

extern const struct store_kind postgres_kind;

/* The schema of the case. */
const char *the_schema(void);
/* A connection with that schema first in its search_path; PQfinish it. */
PGconn *open_pg(void);
void run_pg(PGconn *db, const char *sql);
/* Sets an option for later instances. */
void use_option(const char *name, const char *value);
