/* SPDX-License-Identifier: Apache-2.0 */
#include "schema.h"

#include "db.h"
#include "fit.h"

#include <inttypes.h>
#include <stdio.h>

/* For sqlite3_mprintf: its name, and what an upgrade puts at the end: columns that were added to an
 * older table. The first ten columns are those of the Go package `outbox`, whose producers write
 * here too. */
static const char create_table[] =
    "CREATE TABLE \"%s\" (\n"
    "    -- insertion order; every row's own\n"
    "    seq INTEGER PRIMARY KEY AUTOINCREMENT,\n"
    "    id TEXT NOT NULL UNIQUE DEFAULT (" SCHEMA_UUID "),\n"
    "    topic TEXT NOT NULL,\n"
    "    key TEXT NOT NULL DEFAULT '',\n"
    "    payload BLOB,\n"
    "    headers TEXT DEFAULT '{}',\n"
    "    status TEXT NOT NULL DEFAULT 'pending',\n"
    "    retries INTEGER NOT NULL DEFAULT 0,\n"
    "    last_error TEXT NOT NULL DEFAULT '',\n"
    "    created_at DATETIME NOT NULL DEFAULT (strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')),\n"
    "    processed_at DATETIME,\n"
    "    -- not before: microseconds since 1970, or a date and time; NULL: at once\n"
    "    available_at INTEGER,\n"
    "    lane TEXT,\n"
    "    lane_seq INTEGER,\n"
    "    origin_id TEXT,\n"
    "    -- who holds the row while it is `processing`: a row of {t}_leases\n"
    "    lease INTEGER%s\n"
    ")";

const struct schema_index schema_indexes[SCHEMA_N_INDEXES] = {
    {"_ready", "seq", "status = 'pending' AND available_at IS NULL AND lane IS NULL"},
    {"_delayed", "available_at", "status = 'pending' AND available_at IS NOT NULL"},
    {"_lanes", "lane, lane_seq", "status = 'pending' AND lane IS NOT NULL"},
    {"_held", "lease", "status = 'processing'"},
    {"_done", "processed_at", "status = 'processed'"},
    {"_failed", "seq", "status = 'failed'"},
    {"_origin", "origin_id", "origin_id IS NOT NULL"},
    {"_unknown", "status", SCHEMA_UNKNOWN},
};

const struct schema_column schema_added[SCHEMA_N_ADDED] = {
    {"", "available_at", "INTEGER"}, {"", "lane", "TEXT"},
    {"", "lane_seq", "INTEGER"},     {"", "origin_id", "TEXT"},
    {"", "lease", "INTEGER"},        {"_relays", "has_lock", "INTEGER NOT NULL DEFAULT 0"},
};

static const char *const companions[] = {
    "-- until when each claim holds, microseconds since 1970\n"
    "CREATE TABLE IF NOT EXISTS \"{t}_leases\" (\n"
    "    lease INTEGER PRIMARY KEY,\n"
    "    until INTEGER NOT NULL,\n"
    "    relay TEXT\n"
    ")",
    "-- the relays that work on this table\n"
    "CREATE TABLE IF NOT EXISTS \"{t}_relays\" (\n"
    "    id TEXT PRIMARY KEY,\n"
    "    name TEXT NOT NULL,\n"
    "    config_hash TEXT NOT NULL,\n"
    "    state TEXT NOT NULL,\n"
    "    version TEXT NOT NULL,\n"
    "    started_at DATETIME NOT NULL,\n"
    "    alive_at DATETIME NOT NULL,\n"
    "    clean INTEGER NOT NULL,\n"
    "    -- whether it holds a lock while it lives\n"
    "    has_lock INTEGER NOT NULL DEFAULT 0\n"
    ")",
    "-- the version of all this, and the least version of outboxd's schema that can work on it\n"
    "CREATE TABLE IF NOT EXISTS \"{t}_schema\" (version INTEGER NOT NULL, needs INTEGER NOT NULL)",
    SCHEMA_SET_VERSION, /* a dump of the schema alone leaves it out */
    NULL,
};

/* Runs what was printed to `sql`, and frees it. */
static int exec_free(struct store *s, char *sql, struct outbox_err *err)
{
    int r = sql ? db_exec(s, sql, err) : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    sqlite3_free(sql);
    return r;
}

int schema_create(struct store *s, const char *name, const char *columns, struct outbox_err *err)
{
    return exec_free(s, sqlite3_mprintf(create_table, name, columns), err);
}

static char *index_sql(const struct schema_index *index)
{
    return sqlite3_mprintf("CREATE INDEX \"{t}%s\" ON \"{t}\" (%s)\n    WHERE %s", index->name,
                           index->columns, index->where);
}

/* Can the statement be compiled? `sql` is freed. */
static bool compiles(struct store *s, char *sql)
{
    char *text = sql ? db_render(s, sql) : NULL;
    sqlite3_stmt *q = NULL;
    bool yes = text && sqlite3_prepare_v2(s->db, text, -1, &q, NULL) == SQLITE_OK;
    sqlite3_finalize(q);
    sqlite3_free(text);
    sqlite3_free(sql);
    return yes;
}

/* Has it the columns that it should have? */
static bool has_columns(struct store *s, const struct schema_index *index)
{
    char *columns = NULL;
    char *sql = sqlite3_mprintf("SELECT group_concat(name, ', ') FROM pragma_index_info('{t}%s')",
                                index->name);
    bool yes = sql && db_read_text(s, sql, &columns, NULL) == 0 && columns &&
               sqlite3_stricmp(columns, index->columns) == 0;
    sqlite3_free(columns);
    sqlite3_free(sql);
    return yes;
}

bool schema_has_index(struct store *s, const struct schema_index *index)
{
    return has_columns(s, index) &&
           compiles(s, sqlite3_mprintf("SELECT 1 FROM \"{t}\" INDEXED BY \"{t}%s\" WHERE %s",
                                       index->name, index->where));
}

bool schema_has_column(struct store *s, const struct schema_column *column)
{
    return compiles(
        s, sqlite3_mprintf("SELECT t.%s FROM \"{t}%s\" AS t", column->name, column->table));
}

static int add_column(struct store *s, const struct schema_column *column, struct outbox_err *err)
{
    return exec_free(s,
                     sqlite3_mprintf("ALTER TABLE \"{t}%s\" ADD COLUMN %s %s", column->table,
                                     column->name, column->type),
                     err);
}

static int make_index(struct store *s, const struct schema_index *index, struct outbox_err *err)
{
    int r = exec_free(s, sqlite3_mprintf("DROP INDEX IF EXISTS \"{t}%s\"", index->name), err);
    return r < 0 ? r : exec_free(s, index_sql(index), err);
}

int schema_complete(struct store *s, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    for (size_t i = 0; r == 0 && companions[i]; i++)
        r = db_exec(s, companions[i], err);
    for (size_t i = 0; r == 0 && i < SCHEMA_N_ADDED; i++)
        if (!schema_has_column(s, &schema_added[i]))
            r = add_column(s, &schema_added[i], err);
    for (size_t i = 0; r == 0 && i < SCHEMA_N_INDEXES; i++)
        if (!schema_has_index(s, &schema_indexes[i]))
            r = make_index(s, &schema_indexes[i], err);
    return r;
}

/* ---- init: it is made, upgraded, or found to be up to date ---- */

/* What is ours and not whole is mended: the version of SQLite's schema tells whether it was. */
static int mend(struct store *s, const char **ret_what, struct outbox_err *err)
{
    int64_t before = 0, after = 0;
    int r = db_read_int(s, STMT_ONCE, "PRAGMA schema_version", DB_NO_ARGS, &before, err);
    if (r == 0)
        r = schema_complete(s, err);
    if (r == 0)
        r = db_read_int(s, STMT_ONCE, "PRAGMA schema_version", DB_NO_ARGS, &after, err);
    *ret_what = before == after ? "is up to date" : "mended";
    return r < 0 ? r : fit_check(s, err);
}

static int bring_up_to_date(struct store *s, const char **ret_what, int64_t *ret_rows,
                            struct outbox_err *err)
{
    enum fit_form form;
    int r = fit_find_form(s, &form, err);
    if (r < 0)
        return r;
    switch (form) {
    case FIT_MISSING:
        *ret_what = "created";
        r = schema_create(s, s->table, "", err);
        return r < 0 ? r : schema_complete(s, err);
    case FIT_OLD:
        *ret_what = "upgraded";
        return upgrade(s, ret_rows, err);
    default:
        return mend(s, ret_what, err);
    }
}

int schema_init(void *instance, const struct outbox_call *call, struct outbox_str *ret,
                struct outbox_err *err)
{
    struct store *s = instance;
    const char *what = "";
    int64_t rows = 0;
    char text[512], kept[64] = "";
    int r = connect_enter_init(s, call, err);
    /* Producers first: wait for them as long as the caller does. */
    s->call.lock_deadline_us = s->call.deadline_us;
    /* Rewriting names in views and triggers would point them to the table's temporary name; and an
     * upgrade sorts the whole table, which need not fit in memory. */
    if (r == 0 && sqlite3_exec(s->db, "PRAGMA legacy_alter_table = ON; PRAGMA temp_store = DEFAULT",
                               NULL, NULL, NULL) != SQLITE_OK)
        r = db_fail(s, err);
    if (r == 0)
        r = db_begin(s, err);
    if (r < 0)
        return r;
    r = db_end(s, bring_up_to_date(s, &what, &rows, err), err);
    if (r < 0)
        return r;
    if (rows > 0)
        snprintf(kept, sizeof kept, ", %" PRId64 " rows kept", rows);
    int n = snprintf(text, sizeof text, "%.300s: table %s %s (schema %d)%s", s->path, s->table,
                     what, SCHEMA_VERSION, kept);
    arena_reset(&s->page_arena);
    return arena_str(&s->page_arena, text, (size_t)n, ret) < 0
               ? outbox_fail(err, OUTBOX_E_RETRY, "out of memory")
               : OUTBOX_OK;
}

/* ---- printing it ---- */

/* `sql` is freed. */
static int render(struct store *s, const struct outbox_exec *exec, char *sql,
                  struct outbox_err *err)
{
    char *text = sql ? db_render(s, sql) : NULL;
    int r = text ? exec->run(exec->ctx, text, NULL, 0, err)
                 : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    sqlite3_free(text);
    sqlite3_free(sql);
    return r;
}

int schema_render(void *instance, const struct outbox_exec *exec, struct outbox_err *err)
{
    struct store *s = instance;
    int r =
        render(s, exec,
               sqlite3_mprintf("-- outboxd, store-sqlite: the table {t} and what belongs to it\n"
                               "PRAGMA journal_mode = WAL"),
               err);
    if (r == 0)
        r = render(s, exec, sqlite3_mprintf(create_table, s->table, ""), err);
    for (size_t i = 0; r == 0 && companions[i]; i++)
        r = render(s, exec, sqlite3_mprintf("%s", companions[i]), err);
    for (size_t i = 0; r == 0 && i < SCHEMA_N_INDEXES; i++)
        r = render(s, exec, index_sql(&schema_indexes[i]), err);
    return r;
}
