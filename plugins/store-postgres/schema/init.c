/* SPDX-License-Identifier: Apache-2.0 */
#include "schema/init.h"
#include "connection/pipeline.h"
#include "schema/check.h"
#include "schema/ddl.h"
#include "schema/init_lock.h"
#include "schema/upgrade.h"

#include <stdlib.h>

typedef int statement_fn(void *ctx, const char *sql, struct outbox_err *err);

/* Calls run for each statement of a list, and stops at the first failure. */
static int each_of(const char *const *statements, statement_fn *run, void *ctx,
                   struct outbox_err *err)
{
    int r = OUTBOX_OK;
    for (; r == 0 && *statements; statements++)
        r = run(ctx, *statements, err);
    return r;
}

/* The same for all that make the tables. */
static int each_statement(statement_fn *run, void *ctx, struct outbox_err *err)
{
    int r = each_of(statements_table, run, ctx, err);
    if (r == 0)
        r = each_of(statements_storage, run, ctx, err);
    for (const struct statements_index *i = statements_indexes; r == 0 && i->name; i++) {
        char *sql = ddl_index(i, "");
        r = sql ? run(ctx, sql, err) : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
        free(sql);
    }
    return r < 0 ? r : each_of(statements_companions, run, ctx, err);
}

struct rendering {
    const struct conn *conn;
    const struct outbox_exec *exec;
};

static int render(void *ctx, const char *sql, struct outbox_err *err)
{
    const struct rendering *x = ctx;
    char *text = table_name_render(x->conn->name, x->conn->schema, sql);
    int r = text ? x->exec->run(x->exec->ctx, text, NULL, 0, err)
                 : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    free(text);
    return r;
}

int init_render(const struct conn *conn, bool notify, const struct outbox_exec *exec,
                struct outbox_err *err)
{
    struct rendering x = {conn, exec};
    int r = each_statement(render, &x, err);
    return r < 0 || !notify ? r : each_of(statements_notify, render, &x, err);
}

static int execute(void *ctx, const char *sql, struct outbox_err *err)
{
    return pipeline_exec(ctx, sql, err);
}

/* All of it or nothing. */
static int create(struct conn *conn, struct outbox_err *err)
{
    int r = pipeline_begin(conn, err);
    return pipeline_end(conn, r < 0 ? r : each_statement(execute, conn, err), err);
}

/* A dump of the schema alone leaves the version out. A role that may only read must not fail here.
 */
static int complete_version(struct conn *conn, struct outbox_err *err)
{
    int64_t n;
    int r = pipeline_number(conn, "SELECT count(*) FROM {t_schema}", NULL, &n, err);
    if (r == 0 && n == 0)
        r = pipeline_exec(conn, STATEMENTS_VERSION, err);
    return r < 0 ? r : check_version(conn, err);
}

static int init_form(struct conn *conn, const char **ret_what, int64_t *ret_rows,
                     struct outbox_err *err)
{
    enum check_form form;
    int r = check_find(conn, &form, err);
    if (r < 0)
        return r;
    switch (form) {
    case FORM_MISSING:
        *ret_what = "created";
        return create(conn, err);
    case FORM_OLD:
        *ret_what = "upgraded";
        return upgrade_old(conn, ret_rows, err);
    default:
        *ret_what = "is up to date";
        return complete_version(conn, err);
    }
}

static int init_trigger(struct conn *conn, struct outbox_err *err)
{
    enum check_trigger trigger;
    int r = check_trigger(conn, &trigger, err);
    return r < 0 || trigger != TRIGGER_MISSING ? r
                                               : ddl_run_patiently(conn, statements_notify, err);
}

int init_table(struct conn *conn, bool notify, const struct outbox_call *call, char *text,
               size_t cap, struct outbox_err *err)
{
    enum check_form form;
    const char *what = "";
    int64_t rows = 0;
    struct conn lock;
    int r = conn_enter(conn, call, err);
    if (r < 0)
        return r;
    r = init_lock_begin(&lock, conn, err);
    if (r == 0)
        r = init_form(conn, &what, &rows, err);
    if (r == 0)
        r = check_find(conn, &form, err);
    if (r == 0 && notify)
        r = init_trigger(conn, err);
    conn_free(&lock);
    if (r < 0)
        return r;
    int n = snprintf(text, cap, "table %s.%s %s (schema %d)%s", conn->schema, conn->name->table,
                     what, SCHEMA_VERSION, notify ? ", notifies" : "");
    if (rows > 0 && n > 0 && (size_t)n < cap)
        snprintf(text + n, cap - (size_t)n, ", %lld rows kept", (long long)rows);
    return OUTBOX_OK;
}
