/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c - what the inbox table is like, and the statement for it. The receiver owns it: which
 * types its columns have, whether it has parts, and what else there is in it.
 */
#include "inbox.h"

/* One row, without rights on the table: oid is NULL if there is none. Each column of the plugin's,
 * with its type; the unique index that decides what is a duplicate. All columns of that index are
 * the same at every attempt of a message, and so it may have created_at, by which a table can be
 * parted. */
static const char look_sql[] =
    "WITH t AS MATERIALIZED (SELECT c.oid, c.relkind, c.relpersistence, n.nspname, c.relname"
    "  FROM (SELECT pg_catalog.to_regclass($1) AS oid) r"
    "  JOIN pg_catalog.pg_class c ON c.oid = r.oid"
    "  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace),"
    " wanted AS (SELECT w.name, w.place FROM pg_catalog.unnest(pg_catalog.string_to_array($2, ','))"
    "  WITH ORDINALITY AS w (name, place)),"
    " got AS (SELECT w.name, a.attnum, a.atttypid, y.typbasetype, CASE WHEN y.typcategory = 'S'"
    "  THEN '' ELSE '::' || pg_catalog.format_type(a.atttypid, NULL) END AS cast_to FROM t CROSS "
    "JOIN wanted w"
    "  LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attname::text = w.name"
    "   AND a.attnum > 0 AND NOT a.attisdropped"
    "  LEFT JOIN pg_catalog.pg_type y ON y.oid = a.atttypid),"
    " keys AS (SELECT i.indexrelid, (SELECT pg_catalog.array_agg(a.attname::text)"
    "   FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indrelid"
    "   AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) AS names"
    "  FROM t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid WHERE i.indisunique AND"
    "   i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL),"
    " key AS (SELECT names FROM keys WHERE 'message_id' = ANY (names) AND names <@"
    "  pg_catalog.string_to_array($3, ',') ORDER BY pg_catalog.cardinality(names) LIMIT 1),"
    " key_names AS (SELECT pg_catalog.unnest(names) AS name FROM key)"
    "SELECT pg_catalog.format('%I.%I', t.nspname, t.relname),"
    " t.relkind IN ('r', 'p'), t.relpersistence = 'p',"
    " (SELECT pg_catalog.string_agg(name, ', ') FROM got WHERE attnum IS NULL),"
    " (SELECT cast_to FROM got WHERE name = 'message_id'),"
    " (SELECT CASE WHEN 'pg_catalog.bytea'::pg_catalog.regtype IN (atttypid, typbasetype)"
    "   THEN 'm.payload' ELSE 'pg_catalog.convert_from(m.payload, ''UTF8'')' || cast_to END"
    "  FROM got WHERE name = 'payload'),"
    " (SELECT cast_to FROM got WHERE name = 'headers'),"
    " (SELECT pg_catalog.string_agg(name, ', ') FROM key_names),"
    " (SELECT pg_catalog.string_agg(name, ', ') FROM got WHERE"
    "  NOT pg_catalog.has_column_privilege(t.oid, attnum, 'INSERT')),"
    " (SELECT pg_catalog.string_agg(name, ', ') FROM key_names WHERE"
    "  NOT pg_catalog.has_column_privilege(t.oid, name, 'SELECT'))"
    " FROM t";

enum {
    NAME,
    IS_TABLE,
    IS_DURABLE,
    MISSING,
    ID_CAST,
    PAYLOAD,
    HEADERS_CAST,
    KEY,
    FORBIDDEN,
    HIDDEN
};

static const char *text_at(const PGresult *result, int column)
{
    return PQgetisnull(result, 0, column) ? NULL : PQgetvalue(result, 0, column);
}

/* What is wrong with the table, as a format with one %s, and that part; NULL: nothing. */
static const char *find_fault(const PGresult *result, const char **ret_part)
{
    *ret_part = "";
    if (*text_at(result, IS_TABLE) != 't')
        return "is no table%s";
    if ((*ret_part = text_at(result, MISSING)) != NULL)
        return "lacks the column %s";
    *ret_part = "";
    if (*text_at(result, IS_DURABLE) != 't')
        return "is not durable%s: a crash of the server empties it (ALTER TABLE ... SET LOGGED)";
    if (!text_at(result, KEY))
        return "lacks a unique index of message_id%s, by which duplicates are found";
    if ((*ret_part = text_at(result, FORBIDDEN)) != NULL)
        return "may not be written by this role: GRANT INSERT (%s)";
    if ((*ret_part = text_at(result, HIDDEN)) != NULL)
        return "hides from this role what is a duplicate: GRANT SELECT (%s)";
    return NULL;
}

static int check(const struct instance *x, const PGresult *result, struct outbox_err *err)
{
    const struct settings *set = &x->settings;
    const char *part, *dot = set->schema[0] ? "." : "";
    char fault[200] = "does not exist";
    if (PQntuples(result) > 0) {
        const char *format = find_fault(result, &part), *mark;
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
    values[2] = set->source ? "message_id,created_at,source" : "message_id,created_at";
    free(x->insert);
    x->insert = NULL;
    r = session_run(x, &step, 1, &result, err);
    if (r < 0)
        return r;
    r = check(x, result, err);
    if (r == OUTBOX_OK) {
        x->insert = make_insert(result, set->source != NULL);
        if (!x->insert)
            r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    PQclear(result);
    return r;
}
