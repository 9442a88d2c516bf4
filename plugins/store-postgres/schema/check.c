/* SPDX-License-Identifier: Apache-2.0 */
#include "claim/claim_mode.h"
#include "schema/schema.h"

#include <stdlib.h>

/* $1: the schema or NULL, $2: the table. The schema that search_path finds it in, else the first.
 */
static const char find_text[] =
    "SELECT found.schema, found.oid::int8, pg_catalog.to_regclass(CASE WHEN found.schema IS NOT"
    "  NULL THEN pg_catalog.format('%I.%I', found.schema, $2::text || '_schema') END) IS NOT NULL,"
    " found.several, CASE WHEN found.oid <> 0::oid THEN pg_catalog.row_security_active(found.oid) "
    "END,"
    " (SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
    "   ON n.oid = c.relnamespace WHERE n.nspname = found.schema AND c.relname = lower($2::text)"
    "   AND found.oid = 0::oid)"
    " FROM (SELECT n.nspname AS schema, c.oid, (c.relkind = 'p' OR EXISTS (SELECT 1"
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

/* $1: the table. Does each thing that the relay does have a policy for all rows, and none against
 * it? */
static const char policies_text[] =
    "SELECT NOT EXISTS (SELECT 1 FROM pg_catalog.unnest('{r,w,d}'::\"char\"[]) AS does WHERE NOT"
    "  COALESCE((SELECT bool_or(p.rows = 'true') FILTER (WHERE p.polpermissive) AND"
    "   COALESCE(bool_and(p.rows = 'true') FILTER (WHERE NOT p.polpermissive), true) FROM ("
    "    SELECT polpermissive, pg_catalog.pg_get_expr(polqual, polrelid) AS rows"
    "     FROM pg_catalog.pg_policy WHERE polrelid = $1::int8::oid"
    "     AND (polcmd = '*' OR polcmd = does) AND EXISTS (SELECT 1 FROM"
    "      pg_catalog.unnest(polroles) AS r WHERE CASE WHEN r = 0::oid THEN true"
    "       ELSE pg_catalog.pg_has_role(r, 'USAGE') END)) p), false))";

/* Rows that a policy hides would wait for ever, or be sent and never settled. */
static int check_policies(struct conn *conn, struct outbox_err *err)
{
    struct pg_args args = {.arena = &conn->scratch};
    int64_t pass = 0;
    pg_args_int(&args, conn->oid);
    int r = pipeline_number(conn, policies_text, &args, &pass, err);
    conn->policies_pass = pass != 0;
    return r < 0 || pass
               ? r
               : outbox_fail(err, OUTBOX_E_CONFIG,
                             "row security hides rows of the table %s.%s from the role %s; give it "
                             "BYPASSRLS, or a policy: CREATE POLICY ... FOR ALL TO %s USING (true)",
                             conn->schema, conn->name->table, PQuser(conn->db), PQuser(conn->db));
}

/* What the table's name led to. *ret_near: a table whose name differs in its case alone. */
static int take_found(struct conn *conn, const PGresult *found, struct outbox_err *err)
{
    struct outbox_str schema = pg_column_text(found, 0, 0);
    free(conn->schema);
    conn->schema = schema.p ? strdup(schema.p) : NULL;
    conn->oid = (uint32_t)pg_column_int(found, 0, 1);
    if (!schema.p)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the role's search_path names no schema that exists; write table = "
                           "SCHEMA.%s",
                           conn->name->table);
    if (!conn->schema)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (pg_column_int(found, 0, 3)) /* a row's address is one of each part's own */
        return outbox_fail(
            err, OUTBOX_E_CONFIG,
            "the table %s is partitioned, or other tables inherit from it; the outbox has "
            "to be one table",
            conn->name->table);
    return OUTBOX_OK;
}

/* No table has that name. */
static int missing(const struct conn *conn, const PGresult *found, struct outbox_err *err)
{
    const char *schema = conn->schema, *table = conn->name->table;
    if (!PQgetisnull(found, 0, 5))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the table %s.%s does not exist, but %s.%s does: the case of letters "
                           "counts in `table`; or run `outboxd init` to make it",
                           schema, table, schema, PQgetvalue(found, 0, 5));
    if (pg_column_int(found, 0, 2))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the table %s.%s does not exist, but %s_schema, which belongs to it, "
                           "does: was it renamed or dropped? Give it its name back, or its new one "
                           "to `table`; `outboxd init` would make an empty one",
                           schema, table, table);
    return outbox_fail(err, OUTBOX_E_CONFIG,
                       "the table %s.%s does not exist; run `outboxd init` to make it", schema,
                       table);
}

int check_find(struct conn *conn, enum check_form *ret, struct outbox_err *ret_missing,
               struct outbox_err *err)
{
    struct pg_args args = {.arena = &conn->scratch};
    PGresult *found;
    /* Behind a pooler the search_path is whoever's: a schema that had the table is kept to. */
    pg_args_text(&args, outbox_cstr(conn->name->schema ? conn->name->schema
                                    : conn->oid        ? conn->schema
                                                       : NULL));
    pg_args_text(&args, outbox_cstr(conn->name->table));
    int r = pipeline_query(conn, STMT_NONE, find_text, &args, &found, err);
    if (r < 0)
        return r;
    r = take_found(conn, found, err);
    if (r == OUTBOX_OK && conn->oid && !conn->name->schema)
        outbox_logf(conn->host, OUTBOX_LOG_DEBUG, "the table %s is that of the schema %s",
                    conn->name->table, conn->schema);
    *ret = !conn->oid ? FORM_MISSING : pg_column_int(found, 0, 2) ? FORM_OURS : FORM_OLD;
    if (r == OUTBOX_OK && *ret == FORM_MISSING)
        missing(conn, found, ret_missing);
    conn->policies_pass = false;
    if (r == OUTBOX_OK && pg_column_int(found, 0, 4))
        r = check_policies(conn, err);
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
    int r = check_find(conn, &form, err, err);
    if (r < 0 || form == FORM_MISSING)
        return r < 0 ? r : OUTBOX_E_CONFIG;
    if (form == FORM_OLD)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the table %s.%s has an older form; run `outboxd init` to upgrade it",
                           conn->schema, conn->name->table);
    r = check_version(conn, err);
    if (r == OUTBOX_OK && notify)
        r = check_trigger(conn, &trigger, err);
    if (r == OUTBOX_OK && notify && trigger != TRIGGER_ENABLED)
        r = outbox_fail(err, OUTBOX_E_CONFIG,
                        trigger == TRIGGER_MISSING
                            ? "notify = on, but the table %s.%s has no trigger that notifies; run "
                              "`outboxd init` to make it"
                            : "notify = on, but the trigger of the table %s.%s that notifies is "
                              "disabled; ALTER TABLE ... ENABLE TRIGGER it, or set notify = off",
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

/* Says what is amiss, as far as it fits; warnings are logged. */
static int report(struct store *s, const struct audit *audit, struct outbox_err *err)
{
    for (size_t i = 0; i < audit->n_warnings; i++)
        outbox_logf(s->host, OUTBOX_LOG_WARNING, "%s", audit->warnings[i]);
    return audit->n_errors == 0 ? OUTBOX_OK
                                : outbox_fail(err, OUTBOX_E_CONFIG, "the table %s.%s: %s%s",
                                              s->conn.schema, s->name.table, audit->errors,
                                              audit->n_mendable ? "; run `outboxd init`" : "");
}

int op_check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct store *s = instance;
    struct audit audit = {.n_errors = 0};
    int r = store_enter(s, call, err);
    if (r == OUTBOX_OK)
        r = check_table(&s->conn, s->notify, err);
    if (r == OUTBOX_OK)
        r = audit_form(&s->conn, &audit, err);
    if (r == OUTBOX_OK)
        r = audit_rights(&s->conn, s->mode == &leases_mode, &audit, err);
    if (r == OUTBOX_OK && audit.n_errors == 0)
        r = audit_rows(&s->conn, &audit, err);
    if (r == OUTBOX_OK)
        r = report(s, &audit, err);
    if (r == OUTBOX_OK && s->notify)
        r = listener_try(s, call, err);
    return r;
}
