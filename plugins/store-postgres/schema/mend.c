/* SPDX-License-Identifier: Apache-2.0 */
/* mend.c - what was dropped or broken since the table was made is made again, while it is in use.
 */
#include "schema/schema.h"

/* Statements of the audit, each by itself: they may be many, and lock everybody out. */
static int run_fixes(struct conn *conn, const struct audit *audit, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    for (size_t i = 0; r == 0 && i < audit->n_fixes; i++) {
        const char *const statements[] = {audit->fixes[i], NULL};
        r = ddl_run_patiently(conn, statements, err);
    }
    return r;
}

static int mend_form(struct conn *conn, const struct audit *audit, int64_t *ret_rows,
                     struct outbox_err *err)
{
    conn->planner_is_free = true;
    int r = upgrade_columns(conn, ret_rows, err);
    if (r == 0)
        r = run_fixes(conn, audit, err);
    if (r == 0)
        r = ddl_build_indexes(conn, statements_indexes, err);
    if (r == 0)
        r = pipeline_exec_outside(conn, "DROP INDEX CONCURRENTLY IF EXISTS {t_upgrade}", err);
    if (r == 0)
        r = ddl_run_patiently(conn, statements_companions, err);
    conn->planner_is_free = false;
    return r;
}

/* The lock keeps producers from taking a number meanwhile. $1: the table. */
static int set_sequence(struct conn *conn, struct outbox_err *err)
{
    struct pg_args args = {.arena = &conn->scratch};
    PGresult *result = NULL;
    pg_args_int(&args, conn->oid);
    int r = ddl_begin_patiently(conn, err);
    if (r == 0)
        r = pipeline_exec(conn, "LOCK TABLE {t} IN SHARE ROW EXCLUSIVE MODE", err);
    if (r == 0)
        r = pipeline_query(
            conn, STMT_NONE,
            "SELECT pg_catalog.setval(d.objid::regclass, x.last)"
            " FROM (SELECT max(seq) AS last FROM ONLY {t}) x, pg_catalog.pg_depend d"
            " JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND"
            "  a.attnum = d.refobjsubid AND a.attname = 'seq'"
            " JOIN pg_catalog.pg_sequence q ON q.seqrelid = d.objid"
            " WHERE d.refobjid = $1::int8::oid AND d.deptype IN ('a', 'i')"
            "  AND d.classid = 'pg_catalog.pg_class'::regclass::oid AND COALESCE("
            "   pg_catalog.pg_sequence_last_value(d.objid), q.seqstart - 1) < x.last",
            &args, &result, err);
    PQclear(result);
    return pipeline_end(conn, r, err);
}

static int mend_sequence(struct conn *conn, struct outbox_err *err)
{
    int r;
    do
        r = set_sequence(conn, err);
    while (ddl_try_again(conn, r, err));
    return r;
}

int mend(struct conn *conn, bool *ret_mended, int64_t *ret_rows, struct outbox_err *err)
{
    struct audit before = {.n_errors = 0}, sequence = {.n_errors = 0}, after = {.n_errors = 0};
    int r = audit_form(conn, &before, err);
    if (r == 0 && before.n_mendable > 0)
        r = mend_form(conn, &before, ret_rows, err);
    if (r == 0)
        r = audit_form(conn, &after, err);
    if (r == 0 && after.n_errors > 0)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "the table %s.%s cannot be mended: %s", conn->schema,
                        conn->name->table, after.errors);
    if (r == 0)
        r = audit_sequence(conn, &sequence, err);
    if (r == 0 && sequence.n_mendable > 0)
        r = mend_sequence(conn, err);
    *ret_mended = before.n_mendable + sequence.n_mendable > 0;
    return r;
}
