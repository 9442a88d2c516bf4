/* SPDX-License-Identifier: Apache-2.0 */
/* schema.c - the tables: made, checked, printed. */
#include "sqlite.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first ten columns are those of the Go package `outbox`, whose producers write here too.
 * {c} is where an upgrade puts columns that somebody added to an older table. */
static const char table_text[] =
    "CREATE TABLE \"{n}\" (\n"
    "    -- insertion order; every row's own\n"
    "    seq INTEGER PRIMARY KEY AUTOINCREMENT,\n"
    "    id TEXT NOT NULL UNIQUE DEFAULT (" SQL_UUID "),\n"
    "    topic TEXT NOT NULL,\n"
    "    key TEXT NOT NULL DEFAULT '',\n"
    "    payload BLOB,\n"
    "    headers TEXT NOT NULL DEFAULT '{}',\n"
    "    status TEXT NOT NULL DEFAULT 'pending',\n"
    "    retries INTEGER NOT NULL DEFAULT 0,\n"
    "    last_error TEXT NOT NULL DEFAULT '',\n"
    "    created_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),\n"
    "    processed_at DATETIME,\n"
    "    -- not before: microseconds since 1970, or a date and time; NULL: at once\n"
    "    available_at INTEGER,\n"
    "    lane TEXT,\n"
    "    lane_seq INTEGER,\n"
    "    origin_id TEXT,\n"
    "    -- who holds the row while it is `processing`: a row of {t}_leases\n"
    "    lease INTEGER{c}\n"
    ")";

#define SAY_VERSION                                           \
    "INSERT INTO \"{t}_schema\" (version, needs) SELECT 1, 1" \
    " WHERE NOT EXISTS (SELECT 1 FROM \"{t}_schema\")"

static const char *const statements[] = {
    "CREATE INDEX \"{t}_ready\" ON \"{t}\" (seq)\n"
    "    WHERE status = 'pending' AND available_at IS NULL AND lane IS NULL",
    "CREATE INDEX \"{t}_delayed\" ON \"{t}\" (available_at)\n"
    "    WHERE status = 'pending' AND available_at IS NOT NULL",
    "CREATE INDEX \"{t}_lanes\" ON \"{t}\" (lane, lane_seq)\n"
    "    WHERE status = 'pending' AND lane IS NOT NULL",
    "CREATE INDEX \"{t}_held\" ON \"{t}\" (lease) WHERE status = 'processing'",
    "CREATE INDEX \"{t}_done\" ON \"{t}\" (processed_at) WHERE status = 'processed'",
    "CREATE INDEX \"{t}_failed\" ON \"{t}\" (seq) WHERE status = 'failed'",
    "CREATE INDEX \"{t}_origin\" ON \"{t}\" (origin_id) WHERE origin_id IS NOT NULL",
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
    "    clean INTEGER NOT NULL\n"
    ")",
    "-- the version of all this, and the least version of outboxd's schema that can work on it\n"
    "CREATE TABLE IF NOT EXISTS \"{t}_schema\" (version INTEGER NOT NULL, needs INTEGER NOT NULL)",
    SAY_VERSION,
    NULL,
};

/* Fills the marks of table_text; for free(). */
static char *make_table_text(const char *name, const char *columns)
{
    char *out = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&out, &n);
    if (!f)
        return NULL;
    for (const char *p = table_text; *p;) {
        if (strncmp(p, "{n}", 3) == 0 || strncmp(p, "{c}", 3) == 0) {
            fputs(p[1] == 'n' ? name : columns, f);
            p += 3;
        } else {
            fputc(*p++, f);
        }
    }
    if (fclose(f) != 0) {
        free(out);
        return NULL;
    }
    return out;
}

int schema_create(struct store *s, const char *name, const char *columns, struct outbox_err *err)
{
    char *text = make_table_text(name, columns);
    int r = text ? db_exec(s, text, err) : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    free(text);
    return r;
}

int schema_complete(struct store *s, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    for (size_t i = 0; r == 0 && statements[i]; i++)
        r = db_exec(s, statements[i], err);
    return r;
}

/* ---- what is there ---- */

static int count(struct store *s, const char *sql, int64_t *ret, struct outbox_err *err)
{
    sqlite3_stmt *statement = db_prepare(s, sql, err);
    if (!statement)
        return s->failure;
    int code = sqlite3_step(statement);
    *ret = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE ? OUTBOX_OK : db_fail(s, err);
}

int schema_form(struct store *s, enum schema_form *ret, struct outbox_err *err)
{
    int64_t table = 0, schema = 0;
    int r = count(s, "SELECT count(*) FROM sqlite_master WHERE name = '{t}' COLLATE NOCASE", &table,
                  err);
    if (r == 0)
        r = count(s, "SELECT count(*) FROM sqlite_master WHERE name = '{t}_schema' COLLATE NOCASE",
                  &schema, err);
    *ret = !table ? FORM_MISSING : schema ? FORM_OURS : FORM_OLD;
    return r;
}

int schema_check(struct store *s, struct outbox_err *err)
{
    enum schema_form form;
    int64_t needs = 0, version = 0;
    int r = schema_form(s, &form, err);
    if (r < 0)
        return r;
    if (form == FORM_MISSING)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s has no table %s; run `outboxd init` to make it", s->path, s->table);
    if (form == FORM_OLD)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s: the table %s has an older form; run `outboxd init` to upgrade it",
                           s->path, s->table);
    r = count(s, "SELECT max(needs) FROM \"{t}_schema\"", &needs, err);
    if (r == 0)
        r = count(s, "SELECT max(version) FROM \"{t}_schema\"", &version, err);
    if (r < 0)
        return r;
    if (needs > SCHEMA_VERSION)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s: the table %s has schema %" PRId64
                           ", made by a newer outboxd; this one knows %d: upgrade outboxd",
                           s->path, s->table, version, SCHEMA_VERSION);
    if (version < SCHEMA_VERSION)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s: the table %s has schema %" PRId64
                           ", older than %d; run `outboxd init` to upgrade it",
                           s->path, s->table, version, SCHEMA_VERSION);
    return OUTBOX_OK;
}

/* ---- the operations ---- */

static int render(struct store *s, const struct outbox_exec *exec, const char *sql,
                  struct outbox_err *err)
{
    char *text = db_render(s, sql);
    int r = text ? exec->run(exec->ctx, text, NULL, 0, err)
                 : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    free(text);
    return r;
}

int schema_render(void *instance, const struct outbox_exec *exec, struct outbox_err *err)
{
    struct store *s = instance;
    int r = render(s, exec,
                   "-- outboxd, store-sqlite: the table {t} and what belongs to it\n"
                   "PRAGMA journal_mode = WAL",
                   err);
    char *table = make_table_text(s->table, "");
    if (r == 0)
        r = table ? render(s, exec, table, err) : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (size_t i = 0; r == 0 && statements[i]; i++)
        r = render(s, exec, statements[i], err);
    free(table);
    return r;
}

static int init_inside(struct store *s, const char **ret_what, int64_t *ret_rows,
                       struct outbox_err *err)
{
    enum schema_form form;
    int r = schema_form(s, &form, err);
    if (r < 0)
        return r;
    *ret_rows = 0;
    switch (form) {
    case FORM_MISSING:
        *ret_what = "created";
        r = schema_create(s, s->table, "", err);
        return r < 0 ? r : schema_complete(s, err);
    case FORM_OLD:
        *ret_what = "upgraded";
        return upgrade_old(s, ret_rows, err);
    default:
        *ret_what = "is up to date";
        r = db_exec(s, SAY_VERSION, err); /* a dump of the schema alone leaves it out */
        return r < 0 ? r : schema_check(s, err);
    }
}

int schema_init(void *instance, const struct outbox_call *call, struct outbox_str *ret,
                struct outbox_err *err)
{
    struct store *s = instance;
    const char *what = "";
    int64_t rows = 0;
    char text[512];
    int r = db_enter_raw(s, call, err);
    if (r == 0)
        s->locked_us = s->deadline_us; /* producers first: wait as long as the caller does */
    /* Rewriting names in views and triggers would point them to the table's temporary name. */
    if (r == 0)
        r = db_exec(s, "PRAGMA legacy_alter_table = ON", err);
    /* An upgrade sorts the whole table, which need not fit in memory. */
    if (r == 0)
        r = db_exec(s, "PRAGMA temp_store = DEFAULT", err);
    if (r == 0)
        r = db_begin(s, err);
    if (r < 0)
        return r;
    r = init_inside(s, &what, &rows, err);
    if (r < 0)
        return db_rollback(s, r);
    r = db_commit(s, err);
    if (r < 0)
        return r;
    int n = snprintf(text, sizeof text, "%s: table %s %s (schema %d)", s->path, s->table, what,
                     SCHEMA_VERSION);
    if (rows > 0 && n > 0 && (size_t)n < sizeof text)
        snprintf(text + n, sizeof text - (size_t)n, ", %" PRId64 " rows kept", rows);
    arena_reset(&s->page_arena);
    return arena_str(&s->page_arena, text, strlen(text), ret) < 0
               ? outbox_fail(err, OUTBOX_E_RETRY, "out of memory")
               : OUTBOX_OK;
}
