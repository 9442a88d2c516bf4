/* SPDX-License-Identifier: Apache-2.0 */
#include "sqlite_kind.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of the case; each has a process of its own. */
static char folder[64];
static int starter[2]; /* a pipe: a byte lets a child go */

/* ---- files ---- */

static void make_folder(void)
{
    strncpy(folder, "/tmp/outbox-store-test-XXXXXX", sizeof folder - 1);
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_folder(void)
{
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

char *scratch(const char *name)
{
    char *path = NULL;
    ck_assert_int_ge(asprintf(&path, "%s/%s", folder, name), 0);
    return path;
}

void use_path(struct outbox_cfg *cfg, const char *name)
{
    struct outbox_err err = {.size = sizeof err};
    char *path = scratch(name);
    assert_class(options_set(cfg, "path", path, &err), OUTBOX_OK, &err);
    free(path);
}

static void configure(struct outbox_cfg *cfg)
{
    struct outbox_err err = {.size = sizeof err};
    use_path(cfg, "shop.db");
    /* Only a call's own deadline is to end it, however slow the disk. */
    assert_class(options_set(cfg, "busy_timeout", "60s", &err), OUTBOX_OK, &err);
}

/* ---- statements ---- */

sqlite3 *open_db(const char *name)
{
    sqlite3 *db = NULL;
    char *path = scratch(name);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 30000);
    free(path);
    return db;
}

void run_sql(sqlite3 *db, const char *sql)
{
    char *why = NULL;
    int code = sqlite3_exec(db, sql, NULL, NULL, &why);
    ck_assert_msg(code == SQLITE_OK, "%s: %s", sql, why);
}

static sqlite3_stmt *first_row(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *q = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &q, NULL);
    ck_assert_msg(code == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
    ck_assert_msg(sqlite3_step(q) == SQLITE_ROW, "%s: no row", sql);
    return q;
}

int64_t one_number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *q = first_row(db, sql);
    int64_t n = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return n;
}

static char *one_value(void *db, const char *sql)
{
    sqlite3_stmt *q = first_row(db, sql);
    char *out = NULL;
    if (sqlite3_column_type(q, 0) == SQLITE_NULL) {
        out = strdup("NULL");
    } else {
        const unsigned char *p = sqlite3_column_blob(q, 0);
        int n = sqlite3_column_bytes(q, 0);
        out = calloc(1, 2 * (size_t)n + 1);
        for (int i = 0; out && i < n; i++)
            snprintf(out + 2 * (size_t)i, 3, "%02X", p[i]);
    }
    sqlite3_finalize(q);
    ck_assert_ptr_nonnull(out);
    return out;
}

char *all_lines(sqlite3 *db, const char *sql)
{
    char *out = NULL;
    size_t n = 0;
    sqlite3_stmt *q = NULL;
    FILE *f = open_memstream(&out, &n);
    ck_assert_ptr_nonnull(f);
    int code = sqlite3_prepare_v2(db, sql, -1, &q, NULL);
    ck_assert_msg(code == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
    while (sqlite3_step(q) == SQLITE_ROW)
        fprintf(f, "%s\n", sqlite3_column_text(q, 0));
    sqlite3_finalize(q);
    fclose(f);
    return out;
}

static int run_statement(void *ctx, const char *sql, const struct outbox_arg *const *args,
                         uint64_t n, struct outbox_err *err)
{
    sqlite3 *db = ctx;
    sqlite3_stmt *q = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) != SQLITE_OK)
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s", sqlite3_errmsg(db));
    for (uint64_t i = 0; i < n; i++) {
        const struct outbox_arg *a = args[i];
        int index = (int)i + 1;
        if (a->type == OUTBOX_ARG_INT)
            sqlite3_bind_int64(q, index, a->i);
        else if (a->type == OUTBOX_ARG_TEXT)
            sqlite3_bind_text64(q, index, a->s.p, a->s.n, SQLITE_STATIC, SQLITE_UTF8);
        else if (a->type == OUTBOX_ARG_BLOB)
            sqlite3_bind_blob64(q, index, a->s.p, a->s.n, SQLITE_STATIC);
    }
    int code = sqlite3_step(q);
    sqlite3_finalize(q);
    return code == SQLITE_DONE || code == SQLITE_ROW
               ? OUTBOX_OK
               : outbox_fail(err, OUTBOX_E_CONFIG, "%s", sqlite3_errmsg(db));
}

/* ---- processes ---- */

pid_t in_child(void (*run)(void))
{
    char byte;
    close_all();
    if (starter[1] == 0)
        ck_assert_int_eq(pipe2(starter, O_CLOEXEC), 0);
    fflush(NULL);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        if (read(starter[0], &byte, 1) == 1)
            run();
        _exit(0);
    }
    open_again();
    return pid;
}

void go(void)
{
    ck_assert_int_eq(write(starter[1], "", 1), 1);
}

void await_child(pid_t pid)
{
    int status = -1;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}

/* ---- the kind ---- */

static void *kind_connect(void)
{
    return open_db("shop.db");
}

static void kind_disconnect(void *db)
{
    sqlite3_close(db);
}

static void kind_execute(void *db, const char *sql)
{
    run_sql(db, sql);
}

static int64_t kind_number(void *db, const char *sql)
{
    return one_number(db, sql);
}

static struct outbox_exec kind_exec(void *db)
{
    return (struct outbox_exec){
        .size = sizeof(struct outbox_exec), .ctx = db, .run = run_statement};
}

/* The columns that conditions may use, of the row NEW. */
#define BAD_ROW                                                                              \
    "EXISTS (SELECT 1 FROM (SELECT NEW.topic AS topic, NEW.status AS status, NEW.retries AS" \
    " retries, NEW.last_error AS last_error) WHERE topic = 'bad' AND (%s))"

/* SQLite adds no check to a table, but reads the text of its table anew. */
static void add_check(sqlite3 *db, const char *when)
{
    char *sql = NULL;
    ck_assert_int_ge(asprintf(&sql,
                              "PRAGMA writable_schema = on;"
                              "UPDATE sqlite_schema SET sql = substr(rtrim(sql), 1,"
                              " length(rtrim(sql)) - 1) || ', CONSTRAINT " REFUSAL_WORDS
                              " CHECK (NOT (topic = ''bad'' AND (' || %s || '))))'"
                              " WHERE name = 'outbox_messages';"
                              "PRAGMA writable_schema = reset",
                              when),
                     0);
    run_sql(db, sql);
    free(sql);
    run_sql(db, "CREATE TABLE new_schema (a); DROP TABLE new_schema"); /* so that all see it */
}

static void kind_refuse(void *db, enum refusal how, const char *update_when, bool deletes)
{
    const char *act = how == SKIPPED_BY_TRIGGER ? "IGNORE" : "ABORT, '" REFUSAL_WORDS "'";
    char *sql;
    if (how == REFUSED_BY_CHECK) {
        char *quoted = sqlite3_mprintf("%Q", update_when ? update_when : "0");
        add_check(db, quoted);
        sqlite3_free(quoted);
        return;
    }
    ck_assert_int_ge(asprintf(&sql,
                              "CREATE TRIGGER refuse_update BEFORE UPDATE ON outbox_messages"
                              " WHEN " BAD_ROW " BEGIN SELECT RAISE(%s); END;"
                              "CREATE TRIGGER refuse_delete BEFORE DELETE ON outbox_messages"
                              " WHEN %d AND OLD.topic = 'bad' BEGIN SELECT RAISE(%s); END",
                              update_when ? update_when : "0", act, deletes, act),
                     0);
    run_sql(db, sql);
    free(sql);
}

const struct store_kind sqlite_kind = {
    .plugin = "sqlite",
    .set_up = make_folder,
    .tear_down = remove_folder,
    .configure = configure,
    .connect = kind_connect,
    .disconnect = kind_disconnect,
    .execute = kind_execute,
    .number = kind_number,
    .bytes = one_value,
    .exec = kind_exec,
    .refuse = kind_refuse,
};
