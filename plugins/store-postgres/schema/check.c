/* SPDX-License-Identifier: Apache-2.0 */
#include "schema/schema.h"
#include "store.h"

#include <stdlib.h>

/* $1: the schema or NULL, $2: the table. The schema that search_path finds it in, else the first.
 */
static const char find_text[] =
    "SELECT found.schema, found.oid::int8, pg_catalog.to_regclass(CASE WHEN found.schema IS NOT"
    "  NULL THEN pg_catalog.format('%I.%I', found.schema, $2::text || '_schema') END) IS NOT NULL,"
    " found.several FROM (SELECT n.nspname AS schema, c.oid, (c.relkind = 'p' OR EXISTS (SELECT 1"
    "   FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid)) AS several,"
    "   pg_catalog.array_position("
    "   pg_catalog.current_schemas(false), n.nspname) AS place"
    "  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    "  WHERE c.relname = $2::text AND c.relkind IN ('r', 'p')"
    "   AND (n.nspname = $1::text OR ($1::text IS NULL AND n.nspname = ANY("
    "    pg_catalog.current_schemas(false))))"
    "  UNION ALL SELECT COALESCE($1::text, (pg_catalog.array_remove("
    "   pg_catalog.current_schemas(false), 'pg_catalog'))[1]), 0, false, 1000000"
    "  ORDER BY place NULLS FIRST LIMIT 1) found";

int check_find(struct conn *conn, enum check_form *ret, struct outbox_err *err)
{
    struct pg_args args = {.arena = &conn->scratch};
    PGresult *found;
    pg_args_text(&args, outbox_cstr(conn->name->schema));
    pg_args_text(&args, outbox_cstr(conn->name->table));
    int r = pipeline_query(conn, STMT_NONE, find_text, &args, &found, err);
    if (r < 0)
        return r;
    free(conn->schema);
    conn->schema = NULL;
    struct outbox_str schema = pg_column_text(found, 0, 0);
    conn->oid = (uint32_t)pg_column_int(found, 0, 1);
    *ret = !conn->oid ? FORM_MISSING : pg_column_int(found, 0, 2) ? FORM_OURS : FORM_OLD;
    if (pg_column_int(found, 0, 3)) /* a row's address is one of each part's own */
        r = outbox_fail(
            err, OUTBOX_E_CONFIG,
            "the table %s is partitioned, or other tables inherit from it; the outbox has "
            "to be one table",
            conn->name->table);
    else if (!schema.p)
        r = outbox_fail(err, OUTBOX_E_CONFIG,
                        "the role's search_path names no schema that exists; write table = "
                        "SCHEMA.%s",
                        conn->name->table);
    else if (!(conn->schema = strdup(schema.p)))
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    PQclear(found);
    return r;
}

int check_version(struct conn *conn, struct outbox_err *err)
{
    PGresult *found;
    int r = pipeline_query(conn, STMT_NONE,
                           "SELECT max(version)::int8, max(needs)::int8 FROM {t_schema}", NULL,
                           &found, err);
    if (r < 0)
        return r;
    int version = (int)pg_column_int(found, 0, 0), needs = (int)pg_column_int(found, 0, 1);
    PQclear(found);
    if (needs > SCHEMA_VERSION)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the table %s.%s has schema %d, made by a newer outboxd; this one knows "
                           "%d: upgrade outboxd",
                           conn->schema, conn->name->table, version, SCHEMA_VERSION);
    if (version < SCHEMA_VERSION)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the table %s.%s has schema %d, older than %d; run `outboxd init` to "
                           "upgrade it",
                           conn->schema, conn->name->table, version, SCHEMA_VERSION);
    return OUTBOX_OK;
}

int check_trigger(struct conn *conn, enum check_trigger *ret, struct outbox_err *err)
{
    struct pg_args args = {.arena = &conn->scratch};
    int64_t n;
    pg_args_int(&args, conn->oid);
    pg_args_text(&args, outbox_cstr(conn->name->table));
    int r = pipeline_number(conn,
                            "SELECT CASE tgenabled WHEN 'D' THEN 1 ELSE 2 END FROM"
                            " pg_catalog.pg_trigger WHERE tgrelid = $1::int8::oid AND tgname ="
                            " $2::text || '_notify'",
                            &args, &n, err);
    *ret = (enum check_trigger)n;
    return r;
}

/* OK, or OUTBOX_E_CONFIG with what to do. `notify`: the trigger has to be there. */
static int check_table(struct conn *conn, bool notify, struct outbox_err *err)
{
    enum check_form form;
    enum check_trigger trigger;
    int r = check_find(conn, &form, err);
    if (r < 0)
        return r;
    if (form == FORM_MISSING)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the table %s.%s does not exist; run `outboxd init` to make it",
                           conn->schema, conn->name->table);
    if (form == FORM_OLD)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the table %s.%s has an older form; run `outboxd init` to upgrade it",
                           conn->schema, conn->name->table);
    r = check_version(conn, err);
    if (r == OUTBOX_OK && notify)
        r = check_trigger(conn, &trigger, err);
    if (r == OUTBOX_OK && notify && trigger != TRIGGER_ENABLED)
        r = outbox_fail(err, OUTBOX_E_CONFIG,
                        "notify = on, but the table %s.%s has no trigger that notifies; run "
                        "`outboxd init` to make it",
                        conn->schema, conn->name->table);
    return r;
}

int check_enter(struct conn *conn, bool notify, const struct outbox_call *call,
                struct outbox_err *err)
{
    uint64_t before = conn->session;
    int r = conn_enter(conn, call, err);
    if (r < 0 || conn->session == before)
        return r;
    r = check_table(conn, notify, err);
    if (r < 0)
        conn_close(conn);
    return r;
}

int op_check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct store *s = instance;
    int r = store_enter(s, call, err);
    return r < 0 ? r : check_table(&s->conn, s->notify, err);
}
