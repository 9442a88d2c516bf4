/* SPDX-License-Identifier: Apache-2.0 */
/* db.c - the connection: made when needed, bounded in time, dropped when it is of no more use. */
#include "sqlite.h"

#include <errno.h>
#include <fnmatch.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>

/* Virtual machine steps between two looks at the clock. */
#define PROGRESS_STEPS 20000
/* Not in <linux/magic.h>. */
#define CIFS_MAGIC 0xFF534D42u
#define SMB2_MAGIC 0xFE534D42u

/* ---- deadlines ---- */

static bool is_over(struct store *s, int64_t until_us)
{
    struct pollfd cancel = {.fd = s->cancel_fd, .events = POLLIN};
    if (s->cancel_fd >= 0 && poll(&cancel, 1, 0) > 0) {
        s->cancelled = true;
        return true;
    }
    return s->host->monotonic_us(s->host) >= until_us;
}

static int wait_for_lock(void *store, int tries)
{
    struct store *s = store;
    if (is_over(s, s->locked_us))
        return 0;
    struct pollfd cancel = {.fd = s->cancel_fd, .events = POLLIN};
    poll(&cancel, s->cancel_fd >= 0, tries < 10 ? 1 : 10);
    return 1;
}

static int progress(void *store)
{
    struct store *s = store;
    return is_over(s, s->deadline_us);
}

/* ---- failures ---- */

static int class_of(struct store *s, int code)
{
    switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_INTERRUPT:
        return s->cancelled ? OUTBOX_E_CANCELLED : OUTBOX_E_TIMEOUT;
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
    case SQLITE_PROTOCOL:
    case SQLITE_SCHEMA:
        return OUTBOX_E_RETRY;
    default:
        return OUTBOX_E_CONFIG;
    }
}

static const char *advice(int code)
{
    switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "; another process holds the database for long";
    case SQLITE_FULL:
        return "; make room on its disk";
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return "; outboxd must be able to write the file and its folder";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return "; check the file with `PRAGMA integrity_check`, restore it if need be";
    default:
        return "";
    }
}

/* What the system said, where SQLite only says that it could not. */
static const char *system_says(const struct store *s, int code)
{
    bool failed = (code & 0xFF) == SQLITE_CANTOPEN || (code & 0xFF) == SQLITE_IOERR;
    int e = s->db && failed ? sqlite3_system_errno(s->db) : 0;
    return e ? strerror(e) : "";
}

int db_fail(struct store *s, struct outbox_err *err)
{
    int code = s->db ? sqlite3_extended_errcode(s->db) : SQLITE_NOMEM;
    const char *says = system_says(s, code);
    int class = class_of(s, code);
    s->failure = class;
    if (class == OUTBOX_E_CANCELLED)
        outbox_fail(err, class, "%s: called back", s->path);
    else if ((code & 0xFF) == SQLITE_INTERRUPT)
        outbox_fail(err, class, "%s: it took too long", s->path);
    else
        outbox_fail(err, class, "%s: %s%s%s (SQLite %d)%s", s->path,
                    s->db ? sqlite3_errmsg(s->db) : "out of memory", *says ? ": " : "", says, code,
                    advice(code));
    /* A lock passes; anything else may have to do with this connection. */
    if (class != OUTBOX_E_CANCELLED && class != OUTBOX_E_TIMEOUT)
        db_close(s);
    return class;
}

/* ---- connecting ---- */

static int refuse_network(const struct store *s, struct outbox_err *err)
{
    struct statfs fs;
    int r = statfs(s->path, &fs); /* follows a symbolic link, as SQLite does */
    if (r < 0) {
        char *folder = strdup(s->path);
        char *slash = folder ? strrchr(folder, '/') : NULL;
        if (slash)
            slash[slash == folder] = '\0';
        r = folder ? statfs(slash ? folder : ".", &fs) : -1;
        free(folder);
    }
    if (r < 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s: its folder: %s", s->path, strerror(errno));
    uint32_t type = (uint32_t)fs.f_type;
    if (type == NFS_SUPER_MAGIC || type == SMB_SUPER_MAGIC || type == CIFS_MAGIC ||
        type == SMB2_MAGIC || type == V9FS_MAGIC || type == AFS_SUPER_MAGIC)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s is on a network file system, where SQLite's locks and write-ahead "
                           "log do not work; move it to a local disk",
                           s->path);
    return OUTBOX_OK;
}

static void sql_fnmatch(sqlite3_context *context, int n, sqlite3_value **values)
{
    const char *pattern = (const char *)sqlite3_value_text(values[0]);
    const char *text = (const char *)sqlite3_value_text(values[1]);
    (void)n;
    sqlite3_result_int(context, pattern && text && fnmatch(pattern, text, 0) == 0);
}

/* SQLite does not wait here for others who open a new database at the same time. */
static int use_wal(struct store *s, struct outbox_err *err)
{
    int code = SQLITE_OK;
    for (int tries = 0; tries == 0 || wait_for_lock(s, tries); tries++) {
        code = sqlite3_exec(s->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
        if ((code & 0xFF) != SQLITE_BUSY)
            break;
    }
    return code == SQLITE_OK ? OUTBOX_OK : db_fail(s, err);
}

static int set_up(struct store *s, struct outbox_err *err)
{
    static const char *const pragmas[] = {
        "PRAGMA synchronous = FULL", "PRAGMA cache_size = -512",
        "PRAGMA mmap_size = 0",      "PRAGMA temp_store = MEMORY",
        "PRAGMA foreign_keys = OFF", "PRAGMA journal_size_limit = 16777216"};
    const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC;
    int r = OUTBOX_OK;
    for (size_t i = 0; r == 0 && i < sizeof pragmas / sizeof pragmas[0]; i++)
        r = db_exec(s, pragmas[i], err);
    if (r == 0)
        r = use_wal(s, err);
    if (r == 0 && (sqlite3_create_function_v2(s->db, "outbox_fnmatch", 2, flags, NULL, sql_fnmatch,
                                              NULL, NULL, NULL) != SQLITE_OK ||
                   sqlite3_create_function_v2(s->db, "outbox_moment", 1, flags, NULL, moment_sql,
                                              NULL, NULL, NULL) != SQLITE_OK))
        r = db_fail(s, err);
    return r;
}

static int connect_to(struct store *s, int more_flags, struct outbox_err *err)
{
    int r = refuse_network(s, err);
    if (r < 0)
        return r;
    int code = sqlite3_open_v2(
        s->path, &s->db,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | more_flags, NULL);
    if ((code & 0xFF) == SQLITE_CANTOPEN) {
        outbox_fail(err, OUTBOX_E_CONFIG,
                    "%s cannot be opened: %s; if it is not there yet, run `outboxd init`", s->path,
                    strerror(s->db ? sqlite3_system_errno(s->db) : ENOMEM));
        db_close(s);
        return OUTBOX_E_CONFIG;
    }
    if (code != SQLITE_OK)
        return db_fail(s, err);
    if (sqlite3_db_readonly(s->db, "main") > 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s cannot be written%s", s->path,
                           advice(SQLITE_READONLY));
    sqlite3_busy_handler(s->db, wait_for_lock, s);
    sqlite3_progress_handler(s->db, PROGRESS_STEPS, progress, s);
    return set_up(s, err);
}

static void set_deadline(struct store *s, const struct outbox_call *call)
{
    int64_t now = s->host->monotonic_us(s->host);
    int64_t lock_ms = call->timeout_ms < s->busy_ms ? call->timeout_ms : s->busy_ms;
    s->deadline_us = now + (int64_t)call->timeout_ms * 1000;
    s->locked_us = now + lock_ms * 1000;
    s->cancel_fd = call->cancel_fd;
    s->cancelled = false;
}

/* Somebody put another file in its place: what is written to the old one is lost. */
static void drop_moved(struct store *s)
{
    int moved = 0;
    if (s->db && sqlite3_file_control(s->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
        moved) {
        outbox_logf(s->host, OUTBOX_LOG_WARNING, "%s was moved or replaced; opening it anew",
                    s->path);
        db_close(s);
    }
}

static int enter(struct store *s, const struct outbox_call *call, int more_flags, bool check,
                 struct outbox_err *err)
{
    set_deadline(s, call);
    drop_moved(s);
    if (s->db)
        return OUTBOX_OK;
    int r = connect_to(s, more_flags, err);
    if (r == 0 && check)
        r = schema_check(s, err);
    if (r < 0)
        db_close(s);
    return r;
}

int db_enter_raw(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    return enter(s, call, SQLITE_OPEN_CREATE, false, err);
}

int db_enter(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    return enter(s, call, 0, true, err);
}

void db_close(struct store *s)
{
    for (size_t i = 0; i < N_SLOTS; i++) {
        sqlite3_finalize(s->statements[i]);
        s->statements[i] = NULL;
    }
    sqlite3_close_v2(s->db); /* a statement in use ends with its user */
    s->db = NULL;
    wait_end(s);
}

/* ---- statements ---- */

char *db_render(const struct store *s, const char *sql)
{
    size_t table_n = strlen(s->table), n = 0, marks = 0;
    for (const char *p = sql; (p = strstr(p, "{t}")); p++)
        marks++;
    char *out = malloc(strlen(sql) + marks * table_n + 1);
    if (!out)
        return NULL;
    while (*sql) {
        if (strncmp(sql, "{t}", 3) == 0) {
            memcpy(out + n, s->table, table_n);
            n += table_n;
            sql += 3;
        } else {
            out[n++] = *sql++;
        }
    }
    out[n] = '\0';
    return out;
}

static sqlite3_stmt *prepare(struct store *s, const char *sql, unsigned flags,
                             struct outbox_err *err)
{
    sqlite3_stmt *statement = NULL;
    char *text = db_render(s, sql);
    if (!text) {
        s->failure = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
        return NULL;
    }
    if (sqlite3_prepare_v3(s->db, text, -1, flags, &statement, NULL) != SQLITE_OK)
        db_fail(s, err);
    free(text);
    return statement;
}

sqlite3_stmt *db_prepare(struct store *s, const char *sql, struct outbox_err *err)
{
    return prepare(s, sql, 0, err);
}

sqlite3_stmt *db_statement(struct store *s, enum slot slot, const char *sql, struct outbox_err *err)
{
    sqlite3_stmt *statement = s->statements[slot];
    if (statement) {
        sqlite3_reset(statement);
        sqlite3_clear_bindings(statement);
        return statement;
    }
    statement = prepare(s, sql, SQLITE_PREPARE_PERSISTENT, err);
    s->statements[slot] = statement;
    return statement;
}

int db_run(struct store *s, sqlite3_stmt *statement, struct outbox_err *err)
{
    if (!statement)
        return s->failure;
    int code = sqlite3_step(statement);
    if (code != SQLITE_DONE && code != SQLITE_ROW)
        return db_fail(s, err);
    sqlite3_reset(statement);
    return OUTBOX_OK;
}

int db_exec(struct store *s, const char *sql, struct outbox_err *err)
{
    sqlite3_stmt *statement = db_prepare(s, sql, err);
    if (!statement)
        return s->failure;
    int code = sqlite3_step(statement);
    int r = code == SQLITE_DONE || code == SQLITE_ROW ? OUTBOX_OK : OUTBOX_E_RETRY;
    sqlite3_finalize(statement);
    return r < 0 ? db_fail(s, err) : r;
}

int db_begin(struct store *s, struct outbox_err *err)
{
    /* At once: a read that becomes a write later fails when another process wrote meanwhile. */
    return db_run(s, db_statement(s, SLOT_BEGIN, "BEGIN IMMEDIATE", err), err);
}

int db_commit(struct store *s, struct outbox_err *err)
{
    int r = db_run(s, db_statement(s, SLOT_COMMIT, "COMMIT", err), err);
    return r < 0 ? db_rollback(s, r) : r;
}

int db_rollback(struct store *s, int r)
{
    if (s->db && !sqlite3_get_autocommit(s->db) &&
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
        db_close(s);
    return r;
}

void db_bind(sqlite3_stmt *statement, int index, struct outbox_str text)
{
    if (text.p)
        sqlite3_bind_text64(statement, index, text.p, text.n, SQLITE_STATIC, SQLITE_UTF8);
    else
        sqlite3_bind_null(statement, index);
}

void db_bind_blob(sqlite3_stmt *statement, int index, struct outbox_str bytes)
{
    if (bytes.p)
        sqlite3_bind_blob64(statement, index, bytes.p, bytes.n, SQLITE_STATIC);
    else
        sqlite3_bind_null(statement, index);
}

struct outbox_str db_column(sqlite3_stmt *statement, int column)
{
    if (sqlite3_column_type(statement, column) == SQLITE_NULL)
        return (struct outbox_str){NULL, 0};
    /* Text as UTF-8, whatever the database has. */
    const char *p = sqlite3_column_type(statement, column) == SQLITE_BLOB
                        ? sqlite3_column_blob(statement, column)
                        : (const char *)sqlite3_column_text(statement, column);
    size_t n = (size_t)sqlite3_column_bytes(statement, column);
    return (struct outbox_str){p ? p : "", n};
}

int64_t db_now(const struct store *s)
{
    return s->host->now_us(s->host);
}

int64_t db_now_plus(const struct store *s, int64_t ms)
{
    int64_t most = INT64_MAX / 4 / 1000; /* so that no sum overflows */
    ms = ms > most ? most : ms < -most ? -most : ms;
    return db_now(s) + ms * 1000;
}
