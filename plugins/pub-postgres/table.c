/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c - what the inbox table is like, and the statement for it. The receiver owns it: which
 * types its columns have, whether it has parts, and what else there is in it.
 */
#include "inbox.h"

/* Types that take a text as it is or not at all, from the server's pg_type.dat. Others cut it, as
 * name does, or fill it, as character does, and then two ids can be the same. */
#define BYTEA "17"
#define TEXT "25"
#define JSON "114"
#define VARCHAR "1043"
#define UUID "2950"
#define JSONB "3802"

/* Of pg_trigger.tgtype: such a trigger may give columns their values. */
#define BEFORE_INSERT_ROW "7"

/* One row, without rights on the table: oid is NULL if there is none. Each column of the plugin's,
 * with its type; the unique index that decides what is a duplicate. All columns of that index are
 * the same at every attempt of a message, and so it may have created_at, by which a table can be
 * parted. It must have source if that is set: two outboxes may have the same id. */
static const char look_sql[] =
    "WITH RECURSIVE t AS MATERIALIZED (SELECT c.oid, c.relkind, c.relpersistence, n.nspname,"
    "   c.relname, c.relrowsecurity"
    "  FROM (SELECT pg_catalog.to_regclass($1) AS oid) r"
    "  JOIN pg_catalog.pg_class c ON c.oid = r.oid"
    "  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace),"
    " parts AS (SELECT oid FROM t UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i"
    "  JOIN parts ON parts.oid = i.inhparent JOIN t ON t.relkind = 'p'),"
    " wanted AS (SELECT w.name, w.place FROM pg_catalog.unnest(pg_catalog.string_to_array($2, ','))"
    "  WITH ORDINALITY AS w (name, place)),"
    " got AS (SELECT w.name, a.attnum, CASE y.typtype WHEN 'd' THEN y.typbasetype"
    "  ELSE y.oid END AS type, pg_catalog.format_type(a.atttypid, a.atttypmod) AS type_name,"
    "  CASE WHEN y.typcategory = 'S' THEN '' ELSE '::' || pg_catalog.format_type(a.atttypid, NULL)"
    "  END AS cast_to FROM t CROSS JOIN wanted w"
    "  LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attname::text = w.name"
    "   AND a.attnum > 0 AND NOT a.attisdropped"
    "  LEFT JOIN pg_catalog.pg_type y ON y.oid = a.atttypid),"
    " keys AS (SELECT i.indexrelid, (SELECT pg_catalog.array_agg(a.attname::text)"
    "   FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indrelid"
    "   AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) AS names"
    "  FROM t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid WHERE i.indisunique AND"
    "   i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL),"
    " key AS (SELECT names FROM keys WHERE names @> pg_catalog.string_to_array($3, ',') AND names"
    "  <@ (pg_catalog.string_to_array($3, ',') || 'created_at'::text) ORDER BY "
    "pg_catalog.cardinality(names) LIMIT 1),"
    " key_names AS (SELECT pg_catalog.unnest(names) AS name FROM key)"
    "SELECT pg_catalog.format('%I.%I', t.nspname, t.relname),"
    " t.relkind IN ('r', 'p'),"
    " (SELECT pg_catalog.string_agg(c.relname, ', ') FROM parts"
    "  JOIN pg_catalog.pg_class c ON c.oid = parts.oid WHERE c.relpersistence <> 'p'),"
    " (SELECT pg_catalog.string_agg(name, ', ') FROM got WHERE attnum IS NULL),"
    " (SELECT pg_catalog.string_agg(name || ' ' || type_name, ', ') FROM got"
    "  WHERE NOT (type IN (" TEXT ", " VARCHAR ") OR name IN ('created_at', 'seq')"
    "   OR name = 'message_id' AND type = " UUID
    "   OR name IN ('payload', 'headers') AND type IN (" JSON ", " JSONB ")"
    "   OR name = 'payload' AND type = " BYTEA ")),"
    " (SELECT cast_to FROM got WHERE name = 'message_id'),"
    " (SELECT CASE WHEN type = " BYTEA
    "   THEN 'm.payload' ELSE 'pg_catalog.convert_from(m.payload, ''UTF8'')' || cast_to END"
    "  FROM got WHERE name = 'payload'),"
    " (SELECT cast_to FROM got WHERE name = 'headers'),"
    " (SELECT pg_catalog.string_agg(name, ', ') FROM key_names),"
    " (SELECT pg_catalog.string_agg(name, ', ') FROM got WHERE"
    "  NOT pg_catalog.has_column_privilege(t.oid, attnum, 'INSERT')),"
    " (SELECT pg_catalog.string_agg(name, ', ') FROM key_names WHERE"
    "  NOT pg_catalog.has_column_privilege(t.oid, name, 'SELECT')),"
    " (SELECT pg_catalog.string_agg(c.oid::regclass::text, ', ') FROM pg_catalog.pg_attrdef f"
    "  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::regclass"
    "   AND d.objid = f.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass"
    "  JOIN pg_catalog.pg_class c ON c.oid = d.refobjid WHERE f.adrelid = t.oid"
    "  AND f.adnum NOT IN (SELECT attnum FROM got WHERE attnum IS NOT NULL) AND CASE c.relkind"
    "  WHEN 'S' THEN NOT pg_catalog.has_sequence_privilege(c.oid, 'USAGE, UPDATE') END),"
    " (SELECT pg_catalog.string_agg(a.attname, ', ') FROM pg_catalog.pg_attribute a"
    "  JOIN pg_catalog.pg_type y ON y.oid = a.atttypid WHERE a.attrelid = t.oid AND a.attnum > 0"
    "  AND NOT a.attisdropped AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''"
    "  AND y.typdefault IS NULL AND a.attname::text NOT IN (SELECT name FROM wanted)"
    "  AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger g JOIN parts ON parts.oid = g.tgrelid"
    "   WHERE g.tgtype & " BEFORE_INSERT_ROW " = " BEFORE_INSERT_ROW ")),"
    " t.relrowsecurity"
    " FROM t";

enum {
    NAME,
    IS_TABLE,
    UNLOGGED,
    MISSING,
    UNFIT,
    ID_CAST,
    PAYLOAD,
    HEADERS_CAST,
    KEY,
    FORBIDDEN,
    HIDDEN,
    SEQUENCES,
    NEEDY,
    HAS_POLICIES
};

static const char *text_at(const PGresult *result, int column)
{
    return PQgetisnull(result, 0, column) ? NULL : PQgetvalue(result, 0, column);
}

/* What is wrong with the table, as a format with one %s, and that part; NULL: nothing. */
static const char *find_fault(const PGresult *result, bool has_source, const char **ret_part)
{
    *ret_part = "";
    if (*text_at(result, IS_TABLE) != 't')
        return "is no table%s";
    if ((*ret_part = text_at(result, MISSING)) != NULL)
        return "lacks the column %s";
    if ((*ret_part = text_at(result, UNFIT)) != NULL)
        return "has columns of types that do not fit: %s";
    if ((*ret_part = text_at(result, UNLOGGED)) != NULL)
        return "is not durable, a crash of the server empties it: ALTER TABLE %s SET LOGGED";
    *ret_part = has_source ? " and source" : "";
    if (!text_at(result, KEY))
        return "lacks a unique index of message_id%s, by which duplicates are found";
    if ((*ret_part = text_at(result, FORBIDDEN)) != NULL)
        return "may not be written by this role: GRANT INSERT (%s)";
    if ((*ret_part = text_at(result, HIDDEN)) != NULL)
        return "hides from this role what is a duplicate: GRANT SELECT (%s)";
    if ((*ret_part = text_at(result, SEQUENCES)) != NULL)
        return "has a default that this role may not take: GRANT USAGE ON SEQUENCE %s";
    if ((*ret_part = text_at(result, NEEDY)) != NULL)
        return "lacks a default, or a trigger that sets it, for its column %s";
    return NULL;
}

static int check(const struct instance *x, const PGresult *result, struct outbox_err *err)
{
    const struct settings *set = &x->settings;
    const char *part, *dot = set->schema[0] ? "." : "";
    char fault[200] = "does not exist";
    if (PQntuples(result) > 0) {
        const char *format = find_fault(result, set->source != NULL, &part), *mark;
        if (!format)
            return OUTBOX_OK;
        mark = strstr(format, "%s");
        snprintf(fault, sizeof fault, "%.*s%.80s%s", (int)(mark - format), format, part, mark + 2);
    }
    return outbox_fail(err, OUTBOX_E_CONFIG,
                       "table: %.63s%s%.63s %s; see outboxd-pub-postgres(7) and its inbox.sql",
                       set->schema, dot, set->table, fault);
}

/* What is put in comes from the catalog, quoted. A cast to a type of text would cut it: without one
 * the server refuses what is too long. */
static char *make_insert(const PGresult *result, bool has_source)
{
    char *sql = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&sql, &n);
    if (!f)
        return NULL;
    fprintf(f,
            "INSERT INTO %s (message_id, topic, key, payload, headers, created_at, seq%s)"
            " SELECT m.id%s, m.topic, m.key, %s, m.headers%s, m.created_at, m.seq%s"
            " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3),"
            " pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6),"
            " pg_catalog.unnest($7)) AS m (id, topic, key, payload, headers, created_at, seq)"
            " ON CONFLICT (%s) DO NOTHING",
            text_at(result, NAME), has_source ? ", source" : "", text_at(result, ID_CAST),
            text_at(result, PAYLOAD), text_at(result, HEADERS_CAST), has_source ? ", $8" : "",
            text_at(result, KEY));
    if (fclose(f) != 0) {
        free(sql);
        return NULL;
    }
    return sql;
}

static void quote(const char *name, char **at)
{
    char *p = *at;
    *p++ = '"';
    for (; *name; name++) {
        if (*name == '"')
            *p++ = '"';
        *p++ = *name;
    }
    *p++ = '"';
    *at = p;
}

int table_look(struct instance *x, struct outbox_err *err)
{
    const struct settings *set = &x->settings;
    char name[4 * IDENTIFIER_MAX + 8], *end = name;
    const char *values[3];
    const struct step step = {look_sql, 3, NULL, values, NULL};
    PGresult *result = NULL;
    int r;
    if (set->schema[0]) {
        quote(set->schema, &end);
        *end++ = '.';
    }
    quote(set->table, &end);
    *end = '\0';
    values[0] = name;
    values[1] = set->source ? "message_id,topic,key,payload,headers,created_at,seq,source"
                            : "message_id,topic,key,payload,headers,created_at,seq";
    values[2] = set->source ? "message_id,source" : "message_id";
    free(x->insert);
    x->insert = NULL;
    r = session_run(x, &step, 1, &result, err);
    if (r < 0)
        return r;
    r = check(x, result, err);
    if (r == OUTBOX_OK) {
        x->has_policies = *text_at(result, HAS_POLICIES) == 't';
        x->insert = make_insert(result, set->source != NULL);
        if (!x->insert)
            r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    PQclear(result);
    return r;
}
