/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upgrade.c - a table of the ten-column form becomes ours: built anew beside it, filled in the
 * order of creation, and put in its place, all in one transaction. Producers wait meanwhile.
 */
#include "sqlite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const old_columns[] = {"id",         "topic",       "key",     "payload",
                                          "headers",    "status",      "retries", "last_error",
                                          "created_at", "processed_at"};
#define N_OLD (sizeof old_columns / sizeof old_columns[0])

/* Columns that somebody added: their definitions, and their names for the copying. */
struct extra {
    FILE *definitions;
    FILE *names;
    char *definition_text;
    char *name_text;
    size_t n1, n2;
};

static bool is_old_column(const char *name, uint32_t *seen)
{
    for (size_t i = 0; i < N_OLD; i++)
        if (sqlite3_stricmp(name, old_columns[i]) == 0) {
            *seen |= 1u << i;
            return true;
        }
    return false;
}

static void add_extra(struct store *s, struct extra *extra, sqlite3_stmt *info)
{
    const char *collation = NULL;
    const char *deflt = (const char *)sqlite3_column_text(info, 4);
    const char *type = (const char *)sqlite3_column_text(info, 2);
    char *name = sqlite3_mprintf("\"%w\"", sqlite3_column_text(info, 1));
    if (!name)
        return;
    fprintf(extra->names, ", %s", name);
    fprintf(extra->definitions, ",\n    %s %s", name, type ? type : "");
    if (sqlite3_column_int(info, 3))
        fputs(" NOT NULL", extra->definitions);
    if (deflt)
        fprintf(extra->definitions, " DEFAULT (%s)", deflt);
    sqlite3_table_column_metadata(s->db, NULL, s->table, (const char *)sqlite3_column_text(info, 1),
                                  NULL, &collation, NULL, NULL, NULL);
    if (collation && sqlite3_stricmp(collation, "BINARY") != 0)
        fprintf(extra->definitions, " COLLATE \"%s\"", collation);
    sqlite3_free(name);
}

static int read_columns(struct store *s, struct extra *extra, struct outbox_err *err)
{
    uint32_t seen = 0;
    sqlite3_stmt *info = db_prepare(s, "PRAGMA table_info(\"{t}\")", err);
    if (!info)
        return s->failure;
    int code;
    while ((code = sqlite3_step(info)) == SQLITE_ROW)
        if (!is_old_column((const char *)sqlite3_column_text(info, 1), &seen))
            add_extra(s, extra, info);
    sqlite3_finalize(info);
    if (code != SQLITE_DONE)
        return db_fail(s, err);
    for (size_t i = 0; i < N_OLD; i++)
        if (!(seen & 1u << i))
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "%s: the table %s is there, but has no column %s, so it is no "
                               "outbox; name another one with `table`",
                               s->path, s->table, old_columns[i]);
    return OUTBOX_OK;
}

/* The indexes and triggers that the table's owner made, to be made again. */
static int remember_others(struct store *s, char ***ret, size_t *ret_n, struct outbox_err *err)
{
    sqlite3_stmt *statement = db_prepare(
        s,
        "SELECT sql FROM sqlite_master WHERE tbl_name = '{t}' COLLATE NOCASE AND sql IS NOT NULL"
        " AND type IN ('index', 'trigger') AND name <> 'idx_{t}_pending' COLLATE NOCASE",
        err);
    int code = SQLITE_ROW;
    if (!statement)
        return s->failure;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        char **grown = reallocarray(*ret, *ret_n + 1, sizeof **ret);
        char *sql = strdup((const char *)sqlite3_column_text(statement, 0));
        if (grown)
            *ret = grown;
        if (!grown || !sql) {
            free(sql);
            code = SQLITE_NOMEM;
            break;
        }
        grown[(*ret_n)++] = sql;
    }
    sqlite3_finalize(statement);
    return code == SQLITE_DONE ? OUTBOX_OK : db_fail(s, err);
}

static int make_others(struct store *s, char *const *others, size_t n, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    for (size_t i = 0; r == 0 && i < n; i++)
        if (sqlite3_exec(s->db, others[i], NULL, NULL, NULL) != SQLITE_OK)
            r = db_fail(s, err);
    return r;
}

/* Nobody holds a lease yet, so what was `processing` has been left behind. */
static int copy_rows(struct store *s, const char *names, int64_t *ret_rows, struct outbox_err *err)
{
    char *sql = sqlite3_mprintf(
        "INSERT INTO \"{t}_new\" (id, topic, key, payload, headers, status, retries, last_error,"
        " created_at, processed_at%s) SELECT coalesce(id, " SQL_UUID
        "), topic, coalesce(key, ''), payload,"
        " coalesce(headers, '{}'), CASE status WHEN 'processing' THEN 'pending' ELSE status END,"
        " coalesce(retries, 0), coalesce(last_error, ''), created_at, processed_at%s FROM \"{t}\""
        " ORDER BY outbox_moment(created_at), rowid",
        names, names);
    int r = sql ? db_exec(s, sql, err) : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r == 0)
        *ret_rows = sqlite3_changes64(s->db);
    sqlite3_free(sql);
    return r;
}

static int rebuild(struct store *s, const struct extra *extra, int64_t *ret_rows,
                   struct outbox_err *err)
{
    char name[128];
    snprintf(name, sizeof name, "%s_new", s->table);
    int r = schema_create(s, name, extra->definition_text, err);
    if (r == 0)
        r = copy_rows(s, extra->name_text, ret_rows, err);
    if (r == 0)
        r = db_exec(s, "DROP TABLE \"{t}\"", err);
    if (r == 0)
        r = db_exec(s, "ALTER TABLE \"{t}_new\" RENAME TO \"{t}\"", err);
    return r < 0 ? r : schema_complete(s, err);
}

int upgrade_old(struct store *s, int64_t *ret_rows, struct outbox_err *err)
{
    struct extra extra = {0};
    char **others = NULL;
    size_t n_others = 0;
    extra.definitions = open_memstream(&extra.definition_text, &extra.n1);
    extra.names = open_memstream(&extra.name_text, &extra.n2);
    int r = extra.definitions && extra.names ? read_columns(s, &extra, err)
                                             : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r == 0)
        r = upgrade_check(s, err);
    if (extra.definitions && fclose(extra.definitions) != 0 && r == 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (extra.names && fclose(extra.names) != 0 && r == 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r == 0 && (!extra.definition_text || !extra.name_text))
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r == 0)
        r = remember_others(s, &others, &n_others, err);
    if (r == 0)
        r = rebuild(s, &extra, ret_rows, err);
    if (r == 0)
        r = make_others(s, others, n_others, err);
    for (size_t i = 0; i < n_others; i++)
        free(others[i]);
    free(others);
    free(extra.definition_text);
    free(extra.name_text);
    return r;
}
