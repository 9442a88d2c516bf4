/* SPDX-License-Identifier: Apache-2.0 */
/* store-postgres keeps the contract of every store; the program's name says in which way: with
 * locks or leases, and whether through a pooler in transaction mode. */
#include "postgres_kind.h"
#include "unit.h"

#include <string.h>

int main(int argc, char **argv)
{
    (void)argc;
    unit_needs("OUTBOX_TEST_PG");
    const char *pooler = unit_needs("OUTBOX_TEST_PGBOUNCER");
    const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    way.claim = strstr(name, "leases") ? "leases" : "locks";
    way.conninfo = strstr(name, "pooled") ? pooler : NULL;
    return unit_main(store_contract(&postgres_kind));
}
