/* SPDX-License-Identifier: Apache-2.0 */
#include "schema.h"

#include "db.h"

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
    "    headers TEXT NOT NULL DEFAULT '{}',\n"
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
    SCHEMA_SET_VERSION,
    NULL,
};

int schema_create(struct store *s, const char *name, const char *columns, struct outbox_err *err)
{
    char *sql = sqlite3_mprintf(create_table, name, columns);
    int r = sql ? db_exec(s, sql, err) : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    sqlite3_free(sql);
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

enum form { MISSING, OLD, OURS }; /* the values of the statement below */

static int find_form(struct store *s, enum form *ret, struct outbox_err *err)
{
    int64_t form;
    int r =
        db_read_int(s, STMT_ONCE,
                    "SELECT ('{t}' COLLATE NOCASE IN (SELECT name FROM sqlite_master))"
                    " * (1 + ('{t}_schema' COLLATE NOCASE IN (SELECT name FROM sqlite_master)))",
                    DB_NO_ARGS, &form, err);
    *ret = (enum form)form;
    return r;
}

int schema_check(struct store *s, struct outbox_err *err)
{
    enum form form;
    int64_t needs = 0, version = 0;
    int r = find_form(s, &form, err);
    if (r < 0)
        return r;
    if (form == MISSING)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s has no table %s; run `outboxd init` to make it", s->path, s->table);
    if (form == OLD)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s: the table %s has an older form; run `outboxd init` to upgrade it",
                           s->path, s->table);
    r = db_read_int(s, STMT_ONCE, "SELECT max(needs) FROM \"{t}_schema\"", DB_NO_ARGS, &needs, err);
    if (r == 0)
        r = db_read_int(s, STMT_ONCE, "SELECT max(version) FROM \"{t}_schema\"", DB_NO_ARGS,
                        &version, err);
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

/* ---- init: it is made, upgraded, or found to be up to date ---- */

static int bring_up_to_date(struct store *s, const char **ret_what, int64_t *ret_rows,
                            struct outbox_err *err)
{
    enum form form;
    int r = find_form(s, &form, err);
    if (r < 0)
        return r;
    switch (form) {
    case MISSING:
        *ret_what = "created";
        r = schema_create(s, s->table, "", err);
        return r < 0 ? r : schema_complete(s, err);
    case OLD:
        *ret_what = "upgraded";
        return upgrade(s, ret_rows, err);
    default:
        *ret_what = "is up to date";
        r = db_exec(s, SCHEMA_SET_VERSION, err); /* a dump of the schema alone leaves it out */
        return r < 0 ? r : schema_check(s, err);
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

static int render(struct store *s, const struct outbox_exec *exec, const char *sql,
                  struct outbox_err *err)
{
    char *text = sql ? db_render(s, sql) : NULL;
    int r = text ? exec->run(exec->ctx, text, NULL, 0, err)
                 : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    sqlite3_free(text);
    return r;
}

int schema_render(void *instance, const struct outbox_exec *exec, struct outbox_err *err)
{
    struct store *s = instance;
    char *table = sqlite3_mprintf(create_table, s->table, "");
    int r = render(s, exec,
                   "-- outboxd, store-sqlite: the table {t} and what belongs to it\n"
                   "PRAGMA journal_mode = WAL",
                   err);
    if (r == 0)
        r = render(s, exec, table, err);
    for (size_t i = 0; r == 0 && statements[i]; i++)
        r = render(s, exec, statements[i], err);
    sqlite3_free(table);
    return r;
}
