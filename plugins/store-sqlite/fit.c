/* SPDX-License-Identifier: Apache-2.0 */
#include "fit.h"

#include "db.h"
#include "schema.h"

#include <inttypes.h>

/* More than this is not counted. */
#define UNKNOWN_MAX 10000

int fit_find_form(struct store *s, enum fit_form *ret, struct outbox_err *err)
{
    int64_t form;
    int r =
        db_read_int(s, STMT_ONCE,
                    "SELECT ('{t}' COLLATE NOCASE IN (SELECT name FROM sqlite_master))"
                    " * (1 + ('{t}_schema' COLLATE NOCASE IN (SELECT name FROM sqlite_master)))",
                    DB_NO_ARGS, &form, err);
    *ret = (enum fit_form)form;
    return r;
}

static int check_version(struct store *s, struct outbox_err *err)
{
    int64_t needs = 0, version = 0;
    int r =
        db_read_int(s, STMT_ONCE, "SELECT max(needs) FROM \"{t}_schema\"", DB_NO_ARGS, &needs, err);
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

/* ---- columns, defaults, indexes, companions ---- */

/* Columns with 1 need a default, since producers leave them out. */
static const char lost[] =
    "WITH want (col, needs_default) AS (VALUES ('seq', 0), ('id', 1), ('topic', 0), ('key', 1),"
    " ('payload', 0), ('headers', 1), ('status', 1), ('retries', 1), ('last_error', 1),"
    " ('created_at', 1), ('processed_at', 0)) SELECT CASE WHEN i.name IS NULL THEN 'column ' WHEN"
    " col = 'seq' THEN 'primary key ' ELSE 'default of the column ' END || col FROM want LEFT JOIN"
    " pragma_table_info('{t}') AS i ON lower(i.name) = col WHERE i.name IS NULL OR (col = 'seq' AND"
    " i.pk = 0) OR (needs_default AND i.dflt_value IS NULL) LIMIT 1";

static int check_lost(struct store *s, struct outbox_err *err)
{
    char *what;
    int r = db_read_text(s, lost, &what, err);
    if (r == 0 && what)
        r = outbox_fail(err, OUTBOX_E_CONFIG,
                        "%s: the table %s has lost its %s; build it anew by hand, see UPGRADING in "
                        "outboxd-store-sqlite(7)",
                        s->path, s->table, what);
    sqlite3_free(what);
    return r;
}

static int missing(struct store *s, const char *what, const char *name, struct outbox_err *err)
{
    return outbox_fail(err, OUTBOX_E_CONFIG,
                       "%s: %s %s%s is missing, or not what it should be; run `outboxd init`",
                       s->path, what, s->table, name);
}

static int check_parts(struct store *s, struct outbox_err *err)
{
    char *part;
    int r = db_read_text(s,
                         "SELECT column1 FROM (VALUES ('_leases'), ('_relays')) WHERE ('{t}' ||"
                         " column1) COLLATE NOCASE NOT IN (SELECT name FROM sqlite_master)",
                         &part, err);
    if (r == 0 && part)
        r = missing(s, "the table", part, err);
    sqlite3_free(part);
    for (size_t i = 0; r == 0 && i < SCHEMA_N_ADDED; i++)
        if (!schema_has_column(s, &schema_added[i]))
            r = outbox_fail(err, OUTBOX_E_CONFIG,
                            "%s: the table %s%s has no column %s; run `outboxd init` to add it",
                            s->path, s->table, schema_added[i].table, schema_added[i].name);
    for (size_t i = 0; r == 0 && i < SCHEMA_N_INDEXES; i++)
        if (!schema_has_index(s, &schema_indexes[i]))
            r = missing(s, "the index", schema_indexes[i].name, err);
    return r;
}

int fit_check(struct store *s, struct outbox_err *err)
{
    enum fit_form form;
    int r = fit_find_form(s, &form, err);
    if (r < 0)
        return r;
    if (form == FIT_MISSING)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s has no table %s; run `outboxd init` to make it", s->path, s->table);
    if (form == FIT_OLD)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s: the table %s has an older form; run `outboxd init` to upgrade it",
                           s->path, s->table);
    r = check_version(s, err);
    if (r == 0)
        r = check_lost(s, err);
    return r < 0 ? r : check_parts(s, err);
}

int fit_warn(struct store *s, struct outbox_err *err)
{
    char *text;
    int64_t n = 0;
    int r = db_read_int(s, STMT_ONCE,
                        "SELECT count(*) FROM (SELECT 1 FROM \"{t}\" INDEXED BY \"{t}_unknown\""
                        " WHERE " SCHEMA_UNKNOWN " LIMIT ?1)",
                        DB_ARGS(DB_INT(UNKNOWN_MAX)), &n, err);
    if (r < 0 || n == 0)
        return r;
    r = db_read_text(
        s, "SELECT status FROM \"{t}\" INDEXED BY \"{t}_unknown\" WHERE " SCHEMA_UNKNOWN " LIMIT 1",
        &text, err);
    if (r == 0)
        outbox_logf(s->host, OUTBOX_LOG_WARNING,
                    "%s: %s%" PRId64 " rows of %s have a status that outboxd does not know, for "
                    "example `%.80s`: nobody sends them; write pending, processed or failed",
                    s->path, n == UNKNOWN_MAX ? "at least " : "", n, s->table, text ? text : "");
    sqlite3_free(text);
    return r;
}
