/* SPDX-License-Identifier: Apache-2.0 */
#include "schema/schema.h"

#include <stdlib.h>

/* How long a statement that locks everybody out waits for its lock, and they behind it. */
#define LOCK_TIMEOUT "100ms"
#define LOCK_AGAIN_MS 400

/* Another session was in the way for now: with a lock, or with a change of the catalogue, for which
 * PostgreSQL has no SQLSTATE but that of any internal error. */
bool ddl_try_again(struct conn *conn, int r, const struct outbox_err *err)
{
    bool passing = failure_is(conn, "55P03") || failure_is(conn, "40") ||
                   (failure_is(conn, "XX000") && strstr(err->text, "tuple concurrently"));
    if (r == OUTBOX_OK || !passing || deadline_left_ms(&conn->deadline) <= 0)
        return false;
    deadline_sleep(&conn->deadline, LOCK_AGAIN_MS);
    return true;
}

/* Shorter than the server takes to look for deadlocks, so that it never ends another session's
 * transaction for one with ours. */
int ddl_begin_patiently(struct conn *conn, struct outbox_err *err)
{
    int r = pipeline_begin(conn, err);
    return r < 0 ? r : pipeline_exec(conn, "SET LOCAL lock_timeout = '" LOCK_TIMEOUT "'", err);
}

int ddl_run_patiently(struct conn *conn, const char *const *statements, struct outbox_err *err)
{
    int r;
    do {
        r = ddl_begin_patiently(conn, err);
        for (size_t i = 0; r == 0 && statements[i]; i++)
            r = pipeline_exec(conn, statements[i], err);
        r = pipeline_end(conn, r, err);
    } while (ddl_try_again(conn, r, err));
    return r;
}

char *ddl_index(const struct statements_index *index, const char *how)
{
    char *sql;
    int n = asprintf(&sql, "CREATE %sINDEX %s{n_%s} ON {t} %s", index->unique ? "UNIQUE " : "", how,
                     index->name, index->definition);
    return n < 0 ? NULL : sql;
}

/* Without locking anybody out, unless it is there. What is left of an interrupted build is dropped.
 */
static int build_index(struct conn *conn, const struct statements_index *index,
                       struct outbox_err *err)
{
    struct pg_args args = {.arena = &conn->scratch};
    PGresult *found;
    char name[80], drop[100];
    snprintf(name, sizeof name, "%s_%s", conn->name->table, index->name);
    snprintf(drop, sizeof drop, "DROP INDEX CONCURRENTLY {t_%s}", index->name);
    pg_args_int(&args, conn->oid);
    pg_args_text(&args, outbox_cstr(name));
    pg_args_text(&args, outbox_cstr(index->name));
    int r = pipeline_query(
        conn, STMT_NONE,
        "SELECT c.oid IS NOT NULL, COALESCE(i.indrelid = t.oid, false), EXISTS"
        "  (SELECT 1 FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c"
        "    ON c.oid = i.indexrelid WHERE i.indrelid = t.oid AND i.indisvalid"
        "    AND " STATEMENTS_INDEX_FITS(
            "$3::text") ")"
                        " FROM pg_catalog.pg_class t LEFT JOIN pg_catalog.pg_class c"
                        "  ON c.relnamespace = t.relnamespace AND c.relname = $2::text"
                        " LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid"
                        " WHERE t.oid = $1::int8::oid",
        &args, &found, err);
    if (r < 0)
        return r;
    bool is_taken = pg_column_int(found, 0, 0) != 0, ours = pg_column_int(found, 0, 1) != 0;
    bool valid = pg_column_int(found, 0, 2) != 0;
    PQclear(found);
    if (valid)
        return OUTBOX_OK;
    if (is_taken && !ours)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "something else has the name %s, which an index of %s needs; rename it",
                           name, conn->name->table);
    if (is_taken)
        r = pipeline_exec_outside(conn, drop, err);
    if (r < 0)
        return r;
    char *sql = ddl_index(index, "CONCURRENTLY ");
    r = sql ? pipeline_exec_outside(conn, sql, err)
            : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    free(sql);
    return r;
}

int ddl_build_indexes(struct conn *conn, const struct statements_index *index,
                      struct outbox_err *err)
{
    int r = OUTBOX_OK;
    for (; r == 0 && index->name; index++)
        do
            r = build_index(conn, index, err);
        while (ddl_try_again(conn, r, err));
    return r;
}
