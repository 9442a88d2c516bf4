/* SPDX-License-Identifier: Apache-2.0 */
#include "schema/init_lock.h"
#include "connection/pipeline.h"

#define AGAIN_MS 200

static int try_to_lock(struct conn *conn, bool *ret, struct outbox_err *err)
{
    struct pg_args args = {.arena = &conn->scratch};
    pg_args_text(&args, outbox_cstr(conn->name->table));
    struct step steps[] = {
        STEP_BEGIN,
        {.sql = "SELECT pg_catalog.pg_try_advisory_xact_lock("
                "pg_catalog.hashtextextended('outboxd init ' || $1::text, 0))",
         .args = &args},
        /* Takes the place of the SELECT, whose snapshot a building index would wait for. */
        {.sql = "SET LOCAL lock_timeout = 0"},
    };
    int r = pipeline_run(conn, steps, 3, err);
    if (r < 0)
        return r;
    *ret = pg_column_int(steps[1].result, 0, 0) != 0;
    pipeline_clear(steps, 3);
    if (!*ret)
        pipeline_rollback(conn);
    return OUTBOX_OK;
}

/* The lock is tried again and again instead of waited for: a session that builds an index waits for
 * all older statements, and so for one that waits for this lock. */
int init_lock_begin(struct conn *lock, const struct conn *conn, struct outbox_err *err)
{
    bool locked = false;
    if (conn_init(lock, conn->host, conn->name, conn->conninfo, conn->password) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    lock->prepare = PREPARE_OFF;
    lock->deadline = conn->deadline;
    int r = conn_open(lock, "outboxd init", err);
    while (r == 0 && (r = try_to_lock(lock, &locked, err)) == 0 && !locked)
        if (!deadline_sleep(&lock->deadline, AGAIN_MS))
            r = outbox_fail(err, OUTBOX_E_TIMEOUT,
                            "another `outboxd init` is at work on the table %s", conn->name->table);
    return r;
}
