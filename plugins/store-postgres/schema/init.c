/* SPDX-License-Identifier: Apache-2.0 */
/* init.c - makes or upgrades the tables, or writes the statements that do. */
#include "schema/schema.h"
#include "store.h"

#include <stdlib.h>

#define LOCK_AGAIN_MS 200

/* ---- making ---- */

/* A statement is run; or written, for a migration tool, which needs no connection. */
static int make(struct conn *conn, const struct outbox_exec *exec, const char *sql,
                struct outbox_err *err)
{
    if (!exec)
        return pipeline_exec(conn, sql, err);
    char *text = table_name_render(conn->name, conn->schema, sql);
    int r = text ? exec->run(exec->ctx, text, NULL, 0, err)
                 : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    free(text);
    return r;
}

static int make_list(struct conn *conn, const struct outbox_exec *exec,
                     const char *const *statements, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    for (; r == 0 && *statements; statements++)
        r = make(conn, exec, *statements, err);
    return r;
}

static int make_tables(struct conn *conn, const struct outbox_exec *exec, struct outbox_err *err)
{
    int r = make(conn, exec, statements_table, err);
    if (r == 0)
        r = make_list(conn, exec, statements_storage, err);
    for (const struct statements_index *i = statements_indexes; r == 0 && i->name; i++) {
        char *sql = ddl_index(i, "");
        r = sql ? make(conn, exec, sql, err) : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
        free(sql);
    }
    return r < 0 ? r : make_list(conn, exec, statements_companions, err);
}

int op_schema(void *instance, const struct outbox_exec *exec, struct outbox_err *err)
{
    struct store *s = instance;
    int r = make_tables(&s->conn, exec, err);
    return r < 0 || !s->notify ? r : make_list(&s->conn, exec, statements_notify, err);
}

/* All of it or nothing. */
static int create(struct conn *conn, struct outbox_err *err)
{
    int r = pipeline_begin(conn, err);
    return pipeline_end(conn, r < 0 ? r : make_tables(conn, NULL, err), err);
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
    bool mended = false;
    int r = check_find(conn, &form, NULL, err);
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
        r = complete_version(conn, err);
        if (r == 0)
            r = mend(conn, &mended, ret_rows, err);
        *ret_what = mended ? "mended" : "is up to date";
        return r;
    }
}

static int init_trigger(struct conn *conn, struct outbox_err *err)
{
    enum check_trigger trigger;
    int r = check_trigger(conn, &trigger, err);
    return r < 0 || trigger != TRIGGER_MISSING ? r
                                               : ddl_run_patiently(conn, statements_notify, err);
}

/* ---- one at a time ---- */

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

/*
 * Of several that init a table at the same time one goes on, and the others wait and find it done.
 * Building indexes must not be inside of a transaction, and behind a pooler there is no session; so
 * the lock is held by a transaction of another connection, which conn_free ends in any case. It is
 * tried again and again instead of waited for: a session that builds an index waits for all older
 * statements, and so for one that waits for this lock.
 */
static int take_lock(struct conn *lock, const struct conn *conn, struct outbox_err *err)
{
    bool locked = false;
    if (conn_init(lock, conn->host, conn->cfg, conn->option, conn->name) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    lock->prepare = PREPARE_OFF;
    lock->deadline = conn->deadline;
    lock->is_owner = true;
    int r = conn_open(lock, "outboxd init", err);
    while (r == 0 && (r = try_to_lock(lock, &locked, err)) == 0 && !locked)
        if (!deadline_sleep(&lock->deadline, LOCK_AGAIN_MS))
            r = outbox_fail(err, OUTBOX_E_TIMEOUT,
                            "another `outboxd init` is at work on the table %s", conn->name->table);
    return r;
}

int op_init(void *instance, const struct outbox_call *call, struct outbox_str *ret,
            struct outbox_err *err)
{
    struct store *s = instance;
    struct conn *conn = &s->conn, lock;
    enum check_form form;
    const char *what = "";
    char text[512], kept[48] = "";
    int64_t rows = 0;
    int r = conn_enter(conn, call, err);
    if (r < 0)
        return r;
    conn->is_owner = true;
    r = take_lock(&lock, conn, err);
    if (r == 0)
        r = init_form(conn, &what, &rows, err);
    if (r == 0)
        r = check_find(conn, &form, NULL, err);
    if (r == 0 && s->notify)
        r = init_trigger(conn, err);
    conn_free(&lock);
    conn->is_owner = false;
    if (r < 0)
        return r;
    if (rows > 0)
        snprintf(kept, sizeof kept, ", %lld rows kept", (long long)rows);
    int n = snprintf(text, sizeof text, "table %s.%s %s (schema %d)%s%s", conn->schema,
                     s->name.table, what, SCHEMA_VERSION, s->notify ? ", notifies" : "", kept);
    arena_reset(&s->page.arena);
    return arena_str(&s->page.arena, text, (size_t)n, ret) < 0
               ? outbox_fail(err, OUTBOX_E_RETRY, "out of memory")
               : OUTBOX_OK;
}
