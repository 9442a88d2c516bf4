/* SPDX-License-Identifier: Apache-2.0 */
/* upgrade_check.c - what was added to an old table and building it anew would lose. */
#include "db.h"
#include "upgrade.h"

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

/* A clause that no pragma shows. */
static const char *find_clause(const char *sql)
{
    const char *options = strrchr(sql, ')');
    return has_keywords(sql, NULL, "CHECK")                       ? "a CHECK"
           : has_keywords(sql, "ON", "CONFLICT")                  ? "an ON CONFLICT"
           : options && has_keywords(options, NULL, "STRICT")     ? "STRICT types"
           : options && has_keywords(options, "WITHOUT", "ROWID") ? "no rowid"
                                                                  : NULL;
}

int upgrade_check(struct store *s, struct outbox_err *err)
{
    const char *collation = NULL;
    char *loss = NULL, *sql = NULL;
    int r = db_read_text(s, losses, &loss, err);
    if (r == 0)
        r = db_read_text(s, definition, &sql, err);
    if (r == 0)
        sqlite3_table_column_metadata(s->db, NULL, s->table, "id", NULL, &collation, NULL, NULL,
                                      NULL);
    const char *lost = loss                      ? loss
                       : sql && find_clause(sql) ? find_clause(sql)
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
