/* SPDX-License-Identifier: Apache-2.0 */
#include "db.h"
#include "schema.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define OLD_COLUMNS                                                                  \
    "('id'), ('topic'), ('key'), ('payload'), ('headers'), ('status'), ('retries')," \
    " ('last_error'), ('created_at'), ('processed_at')"

/* ---- columns that were added: their definitions, and their names for the copying ---- */

static void add_column(struct store *s, sqlite3_stmt *info, sqlite3_str *definitions,
                       sqlite3_str *names)
{
    const char *name = (const char *)sqlite3_column_text(info, 0), *collation = NULL;
    const char *type = (const char *)sqlite3_column_text(info, 1);
    const char *deflt = (const char *)sqlite3_column_text(info, 3);
    sqlite3_str_appendf(names, ", \"%w\"", name);
    sqlite3_str_appendf(definitions, ",\n    \"%w\" %s", name, type ? type : "");
    if (sqlite3_column_int(info, 2))
        sqlite3_str_appendall(definitions, " NOT NULL");
    if (deflt)
        sqlite3_str_appendf(definitions, " DEFAULT (%s)", deflt);
    sqlite3_table_column_metadata(s->db, NULL, s->table, name, NULL, &collation, NULL, NULL, NULL);
    if (collation && sqlite3_stricmp(collation, "BINARY") != 0)
        sqlite3_str_appendf(definitions, " COLLATE \"%w\"", collation);
}

static int read_added(struct store *s, sqlite3_str *definitions, sqlite3_str *names,
                      struct outbox_err *err)
{
    sqlite3_stmt *info;
    int r = db_query(s, STMT_ONCE,
                     "SELECT name, type, \"notnull\", dflt_value FROM pragma_table_info('{t}')"
                     " WHERE lower(name) NOT IN (VALUES " OLD_COLUMNS ") ORDER BY cid",
                     DB_NO_ARGS, &info, err);
    if (r < 0)
        return r;
    while ((r = db_step(s, info, err)) > 0)
        add_column(s, info, definitions, names);
    return r;
}

static int check_columns(struct store *s, struct outbox_err *err)
{
    char *missing;
    int r = db_read_text(s,
                         "WITH old (name) AS (VALUES " OLD_COLUMNS ") SELECT name FROM old WHERE"
                         " name NOT IN (SELECT lower(name) FROM pragma_table_info('{t}'))",
                         &missing, err);
    if (r == 0 && missing)
        r = outbox_fail(err, OUTBOX_E_CONFIG,
                        "%s: the table %s is there, but has no column %s, so it is no outbox; name "
                        "another one with `table`",
                        s->path, s->table, missing);
    sqlite3_free(missing);
    return r;
}

/* ---- what was added and building the table anew would lose ---- */

static const char losses[] =
    "SELECT 'the generated column ' || name FROM pragma_table_xinfo('{t}') WHERE hidden IN (2, 3)"
    " UNION ALL SELECT 'the primary key column ' || name FROM pragma_table_xinfo('{t}')"
    "  WHERE pk > 0 AND name <> 'id' COLLATE NOCASE"
    " UNION ALL SELECT 'the reference of column ' || \"from\" FROM pragma_foreign_key_list('{t}')"
    " UNION ALL SELECT 'UNIQUE (' || group_concat(i.name, ', ') || ')'"
    "  FROM pragma_index_list('{t}') AS l, pragma_index_info(l.name) AS i WHERE l.origin = 'u'"
    "  GROUP BY l.name HAVING group_concat(i.name) <> 'id' COLLATE NOCASE";

static const char definition[] =
    "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = '{t}' COLLATE NOCASE";

/* Behind the quoted text or comment that begins here; `sql` itself if it is neither. */
static const char *skip(const char *sql)
{
    const char *last = *sql == '\''             ? "'" /* a doubled one begins the next text */
                       : *sql == '"'            ? "\""
                       : *sql == '`'            ? "`"
                       : *sql == '['            ? "]"
                       : !strncmp(sql, "--", 2) ? "\n"
                       : !strncmp(sql, "/*", 2) ? "*/"
                                                : NULL;
    if (!last)
        return sql;
    const char *end = strstr(sql + (last[1] ? 2 : 1), last);
    return end ? end + strlen(last) : sql + strlen(sql);
}

/* Does it have the keywords `before` (unless it is NULL) and `word`, one after the other, outside
 * of quoted names, texts and comments? */
static bool has_keywords(const char *sql, const char *before, const char *word)
{
    bool is_next = !before;
    while (*sql) {
        const char *next = skip(sql);
        size_t n = 0;
        if (next == sql) {
            while (isalnum((unsigned char)sql[n]) || sql[n] == '_' || sql[n] & 0x80)
                n++;
            next = sql + (n ? n : 1);
        }
        if (n > 0 && is_next && n == strlen(word) && sqlite3_strnicmp(sql, word, (int)n) == 0)
            return true;
        if (n > 0 && before)
            is_next = n == strlen(before) && sqlite3_strnicmp(sql, before, (int)n) == 0;
        sql = next;
    }
    return false;
}

/* A clause that no pragma shows. STRICT matters to columns that were added; ours take any value. */
static const char *find_clause(const char *sql, bool has_added)
{
    const char *options = strrchr(sql, ')');
    return has_keywords(sql, NULL, "CHECK")                                ? "a CHECK"
           : has_keywords(sql, "ON", "CONFLICT")                           ? "an ON CONFLICT"
           : options && has_added && has_keywords(options, NULL, "STRICT") ? "STRICT types"
           : options && has_keywords(options, "WITHOUT", "ROWID")          ? "no rowid"
                                                                           : NULL;
}

static int check_losses(struct store *s, struct outbox_err *err)
{
    const char *collation = NULL;
    char *loss = NULL, *sql = NULL;
    int64_t n_added = 0;
    int r = db_read_text(s, losses, &loss, err);
    if (r == 0)
        r = db_read_int(s, STMT_ONCE,
                        "SELECT count(*) FROM pragma_table_info('{t}') WHERE lower(name) NOT IN"
                        " (VALUES " OLD_COLUMNS ")",
                        DB_NO_ARGS, &n_added, err);
    if (r == 0)
        r = db_read_text(s, definition, &sql, err);
    if (r == 0)
        sqlite3_table_column_metadata(s->db, NULL, s->table, "id", NULL, &collation, NULL, NULL,
                                      NULL);
    const char *clause = sql ? find_clause(sql, n_added > 0) : NULL;
    const char *lost = loss     ? loss
                       : clause ? clause
                       : collation && sqlite3_stricmp(collation, "BINARY") != 0
                           ? "a COLLATE of the column id"
                           : NULL;
    if (r == 0 && lost)
        r = outbox_fail(err, OUTBOX_E_CONFIG,
                        "%s: the table %s has %.200s, which `outboxd init` cannot carry over; see "
                        "UPGRADING in outboxd-store-sqlite(7)",
                        s->path, s->table, lost);
    sqlite3_free(loss);
    sqlite3_free(sql);
    return r;
}

/* ---- building the table anew ---- */

/* No row has a lease yet, so what was `processing` has been left behind. */
static int copy_rows(struct store *s, const char *names, int64_t *ret_rows, struct outbox_err *err)
{
    char *sql = sqlite3_mprintf(
        "INSERT INTO \"{t}_new\" (id, topic, key, payload, headers, status, retries, last_error,"
        " created_at, processed_at%s) SELECT coalesce(nullif(id, ''), " SCHEMA_UUID
        "), topic, coalesce(key, ''), payload,"
        " coalesce(headers, '{}'), CASE status WHEN 'processing' THEN 'pending' ELSE status END,"
        " coalesce(retries, 0), coalesce(last_error, ''), created_at, processed_at%s FROM \"{t}\""
        " ORDER BY outbox_timestamp(created_at), rowid",
        names, names);
    int r = sql ? db_exec(s, sql, err) : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r == 0)
        *ret_rows = sqlite3_changes64(s->db);
    sqlite3_free(sql);
    return r;
}

static int rebuild(struct store *s, const char *definitions, const char *names, int64_t *ret_rows,
                   struct outbox_err *err)
{
    char name[128];
    snprintf(name, sizeof name, "%s_new", s->table);
    int r = schema_create(s, name, definitions, err);
    if (r == 0)
        r = copy_rows(s, names, ret_rows, err);
    if (r == 0)
        r = db_exec(s, "DROP TABLE \"{t}\"", err);
    if (r == 0)
        r = db_exec(s, "ALTER TABLE \"{t}_new\" RENAME TO \"{t}\"", err);
    return r < 0 ? r : schema_complete(s, err);
}

int upgrade(struct store *s, int64_t *ret_rows, struct outbox_err *err)
{
    char *others = NULL; /* the indexes and triggers that were added, to be made again */
    sqlite3_str *definitions = sqlite3_str_new(NULL), *names = sqlite3_str_new(NULL);
    int r = check_columns(s, err);
    if (r == 0)
        r = check_losses(s, err);
    if (r == 0)
        r = read_added(s, definitions, names, err);
    if (r == 0 && (sqlite3_str_errcode(definitions) || sqlite3_str_errcode(names)))
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    char *definition_text = sqlite3_str_finish(definitions); /* NULL: empty, also for %s */
    char *name_text = sqlite3_str_finish(names);
    if (r == 0) /* a text may end in a comment, up to the end of its line */
        r = db_read_text(s,
                         "SELECT group_concat(sql, char(10) || ';') FROM (SELECT sql FROM"
                         " sqlite_master WHERE tbl_name = '{t}' COLLATE NOCASE AND sql IS NOT NULL"
                         " AND type IN ('index', 'trigger') AND name <> 'idx_{t}_pending' COLLATE"
                         " NOCASE ORDER BY rowid)",
                         &others, err);
    if (r == 0)
        r = rebuild(s, definition_text, name_text, ret_rows, err);
    if (r == 0 && others && sqlite3_exec(s->db, others, NULL, NULL, NULL) != SQLITE_OK)
        r = db_fail(s, err);
    sqlite3_free(others);
    sqlite3_free(definition_text);
    sqlite3_free(name_text);
    return r;
}
