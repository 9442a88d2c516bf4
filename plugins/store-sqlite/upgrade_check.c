/* SPDX-License-Identifier: Apache-2.0 */
/* upgrade_check.c - what somebody added to an old table and building it anew would lose. */
#include "sqlite.h"

#include <ctype.h>
#include <string.h>

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

/* Are there these keywords, outside of names in quotes, texts and comments? before: NULL: only the
 * other one. */
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

/* What no pragma tells. */
static const char *find_clause(const char *sql)
{
    const char *options = strrchr(sql, ')');
    return has_keywords(sql, NULL, "CHECK")                       ? "a CHECK"
           : has_keywords(sql, "ON", "CONFLICT")                  ? "an ON CONFLICT"
           : options && has_keywords(options, NULL, "STRICT")     ? "STRICT types"
           : options && has_keywords(options, "WITHOUT", "ROWID") ? "no rowid"
                                                                  : NULL;
}

static int refuse(const struct store *s, const char *lost, struct outbox_err *err)
{
    return outbox_fail(err, OUTBOX_E_CONFIG,
                       "%s: the table %s has %.200s, which `outboxd init` cannot carry over; see "
                       "UPGRADING in outboxd-store-sqlite(7)",
                       s->path, s->table, lost);
}

/* A statement that gives what is lost, or a definition to look through. */
static int look(struct store *s, const char *sql, bool is_definition, struct outbox_err *err)
{
    sqlite3_stmt *statement = db_prepare(s, sql, err);
    const char *lost = NULL;
    int r = OUTBOX_OK;
    if (!statement)
        return s->failure;
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        lost = (const char *)sqlite3_column_text(statement, 0);
    if (lost && is_definition)
        lost = find_clause(lost);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        r = db_fail(s, err);
    else if (lost)
        r = refuse(s, lost, err);
    sqlite3_finalize(statement);
    return r;
}

int upgrade_check(struct store *s, struct outbox_err *err)
{
    const char *collation = NULL;
    int r = look(s, losses, false, err);
    if (r == 0)
        r = look(s, definition, true, err);
    if (r == 0)
        sqlite3_table_column_metadata(s->db, NULL, s->table, "id", NULL, &collation, NULL, NULL,
                                      NULL);
    return collation && sqlite3_stricmp(collation, "BINARY") != 0
               ? refuse(s, "a COLLATE of the column id", err)
               : r;
}
