/* SPDX-License-Identifier: Apache-2.0 */
#include "db.h"

#include <stdio.h>
#include <string.h>

/* Where the header of a database has the version of the SQLite that wrote it last. */
#define WRITER_VERSION_OFFSET 96

/* ---- failures ---- */

static int class_of(const struct store *s, int code)
{
    switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_INTERRUPT:
        return s->call.cancelled ? OUTBOX_E_CANCELLED : OUTBOX_E_TIMEOUT;
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

/* What to do about a result code, as the end of a sentence; "" if nothing is known. */
static const char *advice(int code)
{
    switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "; another process keeps the database locked";
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

/* The system's reason, where SQLite only says that a file could not be used. */
static const char *system_reason(const struct store *s, int code)
{
    bool failed = (code & 0xFF) == SQLITE_CANTOPEN || (code & 0xFF) == SQLITE_IOERR;
    int e = s->db && failed ? sqlite3_system_errno(s->db) : 0;
    return e ? strerror(e) : "";
}

/* The version of the SQLite that wrote the file last, 0 if unknown. Not by opening the file:
 * closing it again would free the locks of this process. */
static int writer_version(const struct store *s)
{
    sqlite3_file *file = NULL;
    unsigned char v[4] = {0};
    if (sqlite3_file_control(s->db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
        !file || !file->pMethods ||
        file->pMethods->xRead(file, v, sizeof v, WRITER_VERSION_OFFSET) != SQLITE_OK)
        return 0;
    return v[0] << 24 | v[1] << 16 | v[2] << 8 | v[3];
}

/* A schema that this library cannot read looks damaged to it. */
static int describe_newer(const struct store *s, int class, int writer, struct outbox_err *err)
{
    return outbox_fail(
        err, class,
        "%s: %s; SQLite %d.%d.%d wrote the file last, and this program has %s, which "
        "may not know what the schema uses: install a newer SQLite library",
        s->path, sqlite3_errmsg(s->db), writer / 1000000, writer / 1000 % 1000, writer % 1000,
        sqlite3_libversion());
}

/* Fills *err from the connection and returns the class. */
static int describe(struct store *s, int code, struct outbox_err *err)
{
    int class = class_of(s, code);
    const char *reason = system_reason(s, code);
    int writer = (code & 0xFF) == SQLITE_CORRUPT ? writer_version(s) : 0;
    if (class == OUTBOX_E_CANCELLED)
        return outbox_fail(err, class, "%s: the call was cancelled", s->path);
    if ((code & 0xFF) == SQLITE_INTERRUPT)
        return outbox_fail(err, class, "%s: the call took too long", s->path);
    if (writer > sqlite3_libversion_number())
        return describe_newer(s, class, writer, err);
    return outbox_fail(err, class, "%s: %s%s%s (SQLite %d)%s", s->path,
                       s->db ? sqlite3_errmsg(s->db) : "out of memory", *reason ? ": " : "", reason,
                       code, advice(code));
}

/* A lock passes, and says nothing about the connection; all else may. */
static void close_unless_it_passes(struct store *s, int class)
{
    if (class != OUTBOX_E_CANCELLED && class != OUTBOX_E_TIMEOUT)
        db_close(s);
}

int db_fail(struct store *s, struct outbox_err *err)
{
    int class = describe(s, s->db ? sqlite3_extended_errcode(s->db) : SQLITE_NOMEM, err);
    close_unless_it_passes(s, class);
    return class;
}

/*
 * May the failure be that of the row alone: a check, a trigger that raises, damage? Other codes
 * tell of the database as a whole; and what cannot even be compiled fails without any row, too.
 */
static bool may_be_of_a_row(struct store *s, sqlite3_stmt *q, int code)
{
    sqlite3_stmt *again = NULL;
    switch (code & 0xFF) {
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
    case SQLITE_ABORT:
    case SQLITE_CORRUPT:
        return true;
    case SQLITE_ERROR:
        break;
    default:
        return false;
    }
    code = sqlite3_prepare_v2(s->db, sqlite3_sql(q), -1, &again, NULL);
    sqlite3_finalize(again);
    return code == SQLITE_OK;
}

/* Does an index on the column `id` alone refuse the row? Only the message says so. */
static bool is_of_id(const struct store *s, int code)
{
    const char *column =
        code == SQLITE_CONSTRAINT_UNIQUE ? strrchr(sqlite3_errmsg(s->db), '.') : NULL;
    return column && strcmp(column, ".id") == 0 && !strchr(sqlite3_errmsg(s->db), ',');
}

static int step_failed(struct store *s, sqlite3_stmt *q, int code, struct outbox_err *err)
{
    int class = describe(s, code, err);
    snprintf(s->row_fault, sizeof s->row_fault, "%s (SQLite %d)", sqlite3_errmsg(s->db), code);
    s->suspect |= (code & 0xFF) == SQLITE_CORRUPT;
    s->id_exists = is_of_id(s, code);
    s->row_at_fault = may_be_of_a_row(s, q, code);
    if (!s->row_at_fault)
        close_unless_it_passes(s, class);
    return class;
}

int db_skipped(struct store *s, struct outbox_err *err)
{
    s->row_at_fault = true;
    snprintf(s->row_fault, sizeof s->row_fault, "a trigger skips the row");
    return outbox_fail(err, OUTBOX_E_CONFIG, "%s: a trigger skips a row of %s", s->path, s->table);
}

void db_close(struct store *s)
{
    for (size_t i = 0; i < N_STMTS; i++) {
        sqlite3_finalize(s->statements[i]);
        s->statements[i] = NULL;
        s->texts[i] = NULL;
    }
    wait_end(s);
    sqlite3_close(s->db);
    s->db = NULL;
    s->suspect = false;
}

/* ---- statements ---- */

char *db_render(const struct store *s, const char *sql)
{
    sqlite3_str *out = sqlite3_str_new(NULL);
    for (const char *mark; (mark = strstr(sql, "{t}")); sql = mark + 3) {
        sqlite3_str_append(out, sql, (int)(mark - sql));
        sqlite3_str_appendall(out, s->table);
    }
    sqlite3_str_appendall(out, sql);
    return sqlite3_str_finish(out);
}

void db_bind(sqlite3_stmt *q, int index, const struct outbox_arg *arg)
{
    if (arg->type == OUTBOX_ARG_INT)
        sqlite3_bind_int64(q, index, arg->i);
    else if (arg->type == OUTBOX_ARG_NULL || !arg->s.p)
        sqlite3_bind_null(q, index);
    else if (arg->type == OUTBOX_ARG_BLOB)
        sqlite3_bind_blob64(q, index, arg->s.p, arg->s.n, SQLITE_STATIC);
    else
        sqlite3_bind_text64(q, index, arg->s.p, arg->s.n, SQLITE_STATIC, SQLITE_UTF8);
}

int db_query(struct store *s, enum stmt stmt, const char *sql, const struct outbox_arg *args,
             size_t n_args, sqlite3_stmt **ret, struct outbox_err *err)
{
    sqlite3_stmt **q = &s->statements[stmt];
    s->row_at_fault = false;
    if (stmt == STMT_ONCE || s->texts[stmt] != sql) {
        sqlite3_finalize(*q);
        *q = NULL;
    }
    if (*q) {
        sqlite3_reset(*q);
        sqlite3_clear_bindings(*q);
    } else {
        unsigned flags = stmt == STMT_ONCE ? 0 : SQLITE_PREPARE_PERSISTENT;
        char *text = db_render(s, sql);
        if (!text)
            return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
        int code = sqlite3_prepare_v3(s->db, text, -1, flags, q, NULL);
        sqlite3_free(text);
        if (code != SQLITE_OK)
            return db_fail(s, err);
        s->texts[stmt] = sql;
    }
    for (size_t i = 0; i < n_args; i++)
        db_bind(*q, (int)i + 1, &args[i]);
    *ret = *q;
    return OUTBOX_OK;
}

int db_step(struct store *s, sqlite3_stmt *q, struct outbox_err *err)
{
    int code = sqlite3_step(q);
    if (code == SQLITE_ROW)
        return 1;
    int r = code == SQLITE_DONE ? OUTBOX_OK : step_failed(s, q, code, err);
    if (s->db)
        sqlite3_reset(q);
    return r;
}

/* The first row, if there is one. */
static int read_row(struct store *s, enum stmt stmt, const char *sql, const struct outbox_arg *args,
                    size_t n_args, sqlite3_stmt **ret, struct outbox_err *err)
{
    int r = db_query(s, stmt, sql, args, n_args, ret, err);
    return r < 0 ? r : db_step(s, *ret, err);
}

int db_run(struct store *s, enum stmt stmt, const char *sql, const struct outbox_arg *args,
           size_t n_args, struct outbox_err *err)
{
    sqlite3_stmt *q;
    int r = read_row(s, stmt, sql, args, n_args, &q, err);
    if (r > 0) /* some pragmas tell what they have set */
        sqlite3_reset(q);
    return r < 0 ? r : OUTBOX_OK;
}

int db_exec(struct store *s, const char *sql, struct outbox_err *err)
{
    return db_run(s, STMT_ONCE, sql, DB_NO_ARGS, err);
}

int db_read_int(struct store *s, enum stmt stmt, const char *sql, const struct outbox_arg *args,
                size_t n_args, int64_t *ret, struct outbox_err *err)
{
    sqlite3_stmt *q;
    int r = read_row(s, stmt, sql, args, n_args, &q, err);
    *ret = r > 0 ? sqlite3_column_int64(q, 0) : 0;
    if (r > 0)
        sqlite3_reset(q);
    return r < 0 ? r : OUTBOX_OK;
}

int db_read_text(struct store *s, const char *sql, char **ret, struct outbox_err *err)
{
    sqlite3_stmt *q;
    int r = read_row(s, STMT_ONCE, sql, DB_NO_ARGS, &q, err);
    *ret = NULL;
    if (r <= 0)
        return r;
    bool is_null = sqlite3_column_type(q, 0) == SQLITE_NULL;
    if (!is_null)
        *ret = sqlite3_mprintf("%s", sqlite3_column_text(q, 0));
    sqlite3_reset(q);
    return is_null || *ret ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
}

struct outbox_str db_column(sqlite3_stmt *q, int column)
{
    int type = sqlite3_column_type(q, column);
    if (type == SQLITE_NULL)
        return (struct outbox_str){NULL, 0};
    /* Text as UTF-8, whatever the database has. */
    const char *p = type == SQLITE_BLOB ? sqlite3_column_blob(q, column)
                                        : (const char *)sqlite3_column_text(q, column);
    size_t n = (size_t)sqlite3_column_bytes(q, column);
    return (struct outbox_str){p ? p : "", n};
}

/* ---- transactions ---- */

int db_begin(struct store *s, struct outbox_err *err)
{
    /* At once: a read that becomes a write later fails when another process wrote meanwhile. */
    return db_run(s, STMT_BEGIN, "BEGIN IMMEDIATE", DB_NO_ARGS, err);
}

int db_end(struct store *s, int r, struct outbox_err *err)
{
    if (r == OUTBOX_OK)
        r = db_run(s, STMT_COMMIT, "COMMIT", DB_NO_ARGS, err);
    if (r < 0 && s->db && !sqlite3_get_autocommit(s->db) && /* a trigger may have ended it */
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
        db_close(s);
    return r;
}

/* ---- the clock ---- */

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
