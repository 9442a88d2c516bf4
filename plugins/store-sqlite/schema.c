/* SPDX-License-Identifier: Apache-2.0 */
#include "schema.h"

#include "db.h"
#include "operations.h"

#include <inttypes.h>

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

int schema_form(struct store *s, enum schema_form *ret, struct outbox_err *err)
{
#define COUNT_TABLES(name) \
    "SELECT count(*) FROM sqlite_master WHERE name = '" name "' COLLATE NOCASE"
    int64_t table = 0, versions = 0;
    int r = db_read_int(s, STMT_ONCE, COUNT_TABLES("{t}"), DB_NO_ARGS, &table, err);
    if (r == 0)
        r = db_read_int(s, STMT_ONCE, COUNT_TABLES("{t}_schema"), DB_NO_ARGS, &versions, err);
    *ret = !table ? SCHEMA_MISSING : versions ? SCHEMA_OURS : SCHEMA_OLD;
    return r;
}

int schema_check(struct store *s, struct outbox_err *err)
{
    enum schema_form form;
    int64_t needs = 0, version = 0;
    int r = schema_form(s, &form, err);
    if (r < 0)
        return r;
    if (form == SCHEMA_MISSING)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s has no table %s; run `outboxd init` to make it", s->path, s->table);
    if (form == SCHEMA_OLD)
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
