/* SPDX-License-Identifier: Apache-2.0 */
#include "schema/schema.h"

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
