/* SPDX-License-Identifier: Apache-2.0 */
#include "db.h"
#include "fit.h"
#include "refused.h"

#include <errno.h>
#include <fnmatch.h>
#include <libgen.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

/* Steps of SQLite's virtual machine between two checks of the clock. */
#define PROGRESS_STEPS 20000
/* Not in <linux/magic.h>. */
#define CIFS_MAGIC 0xFF534D42u
#define SMB2_MAGIC 0xFE534D42u

/* ---- deadlines: SQLite calls these two while it waits or works ---- */

static bool is_over(struct store *s, int64_t until_us)
{
    struct pollfd cancel = {.fd = s->call.cancel_fd, .events = POLLIN};
    if (poll(&cancel, 1, 0) > 0)
        s->call.cancelled = true;
    return s->call.cancelled || s->host->monotonic_us(s->host) >= until_us;
}

/* Not 0: try for the lock again. */
static int on_busy(void *store, int tries)
{
    struct store *s = store;
    struct pollfd cancel = {.fd = s->call.cancel_fd, .events = POLLIN};
    if (is_over(s, s->call.lock_deadline_us))
        return 0;
    poll(&cancel, 1, tries < 10 ? 1 : 10);
    return 1;
}

/* Not 0: interrupt the statement. */
static int on_progress(void *store)
{
    struct store *s = store;
    return is_over(s, s->call.deadline_us);
}

/* ---- connecting ---- */

static int refuse_network(const struct store *s, struct outbox_err *err)
{
    struct statfs fs;
    char *path = strdup(s->path);
    int r = statfs(s->path, &fs); /* follows a symbolic link, as SQLite does */
    if (r < 0 && path)
        r = statfs(dirname(path), &fs);
    free(path);
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

static void sql_octet_length(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n;
    if (sqlite3_value_type(values[0]) != SQLITE_NULL)
        sqlite3_result_int(context, sqlite3_value_bytes(values[0]));
}

static int add_functions(struct store *s)
{
    static const struct {
        const char *name;
        int n;
        int flags;
        void (*run)(sqlite3_context *context, int n, sqlite3_value **values);
    } functions[] = {
        {"outbox_fnmatch", 2, SQLITE_DETERMINISTIC, sql_fnmatch},
        {"outbox_timestamp", 1, SQLITE_DETERMINISTIC, timestamp_sql},
        {"outbox_due", 1, SQLITE_DETERMINISTIC, timestamp_due_sql},
        {"outbox_quarantined", 1, 0, refused_sql},
        {"outbox_passed_over", 1, 0, refused_pass_over_sql},
        {"octet_length", 1, SQLITE_DETERMINISTIC, sql_octet_length}, /* the last one, see below */
    };
    size_t n = sizeof functions / sizeof functions[0];
    int code = SQLITE_OK;
    n -= sqlite3_libversion_number() >= 3043000; /* has its own, which reads nothing for it */
    for (size_t i = 0; code == SQLITE_OK && i < n; i++)
        code = sqlite3_create_function_v2(s->db, functions[i].name, functions[i].n,
                                          SQLITE_UTF8 | functions[i].flags, s, functions[i].run,
                                          NULL, NULL, NULL);
    return code;
}

/* SQLite does not wait here for others who open a new database at the same time. */
static int use_wal(struct store *s, struct outbox_err *err)
{
    int code = SQLITE_OK;
    for (int tries = 0; tries == 0 || on_busy(s, tries); tries++) {
        code = sqlite3_exec(s->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
        if ((code & 0xFF) != SQLITE_BUSY)
            break;
    }
    return code == SQLITE_OK ? OUTBOX_OK : db_fail(s, err);
}

static int set_up(struct store *s, struct outbox_err *err)
{
    static const char pragmas[] =
        "PRAGMA synchronous = FULL; PRAGMA cache_size = -512; PRAGMA mmap_size = 0;"
        "PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF;"
        "PRAGMA journal_size_limit = 16777216";
    sqlite3_busy_handler(s->db, on_busy, s);
    sqlite3_progress_handler(s->db, PROGRESS_STEPS, on_progress, s);
    if (sqlite3_exec(s->db, pragmas, NULL, NULL, NULL) != SQLITE_OK ||
        add_functions(s) != SQLITE_OK)
        return db_fail(s, err);
    return use_wal(s, err);
}

/* ---- which file it is ---- */

static bool read_identity(const struct store *s, dev_t *dev, ino_t *ino)
{
    struct stat st;
    if (stat(s->path, &st) < 0)
        return false;
    *dev = st.st_dev;
    *ino = st.st_ino;
    return true;
}

bool connect_has_moved(const struct store *s)
{
    dev_t dev;
    ino_t ino;
    return s->db && (!read_identity(s, &dev, &ino) || dev != s->file_dev || ino != s->file_ino);
}

/* The path names the same file before and after it was opened: that one is open. */
static int remember_identity(struct store *s, bool was_there, dev_t dev, ino_t ino,
                             struct outbox_err *err)
{
    if (read_identity(s, &s->file_dev, &s->file_ino) &&
        (!was_there || (dev == s->file_dev && ino == s->file_ino)))
        return OUTBOX_OK;
    return outbox_fail(err, OUTBOX_E_RETRY, "%s was replaced while it was opened", s->path);
}

static int open_file(struct store *s, int more_flags, struct outbox_err *err)
{
    dev_t dev = 0;
    ino_t ino = 0;
    bool was_there = read_identity(s, &dev, &ino);
    int r = refuse_network(s, err);
    if (r < 0)
        return r;
    int code = sqlite3_open_v2(
        s->path, &s->db,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | more_flags, NULL);
    if ((code & 0xFF) == SQLITE_CANTOPEN)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s cannot be opened: %s; if it is not there yet, run `outboxd init`",
                           s->path, strerror(s->db ? sqlite3_system_errno(s->db) : ENOMEM));
    if (code != SQLITE_OK)
        return db_fail(s, err);
    if (sqlite3_db_readonly(s->db, "main") > 0)
        return outbox_fail(
            err, OUTBOX_E_CONFIG,
            "%s cannot be written; outboxd must be able to write the file and its folder", s->path);
    r = remember_identity(s, was_there, dev, ino, err);
    return r < 0 ? r : set_up(s, err);
}

/* ---- the beginning of a call ---- */

static void set_deadline(struct store *s, const struct outbox_call *call)
{
    int64_t now = s->host->monotonic_us(s->host);
    int64_t lock_ms = call->timeout_ms < s->busy_ms ? call->timeout_ms : s->busy_ms;
    s->call.deadline_us = now + (int64_t)call->timeout_ms * 1000;
    s->call.lock_deadline_us = now + lock_ms * 1000;
    s->call.cancel_fd = call->cancel_fd;
    s->call.cancelled = false;
    s->refused.n_logged = 0;
    s->refused.last = INT64_MIN;
    s->row_at_fault = false;
}

/* Another file may have been put in its place, or a symbolic link be switched: what is written to
 * the old one would be lost. */
static void drop_moved(struct store *s)
{
    if (connect_has_moved(s)) {
        outbox_logf(s->host, OUTBOX_LOG_WARNING, "%s was moved or replaced; opening it anew",
                    s->path);
        db_close(s);
        s->refused.quarantine.n = 0; /* other rows have those numbers now */
        s->refused.n_outcomes = 0;
        s->refused.full_until_us = 0;
    }
    if (s->suspect)
        db_close(s);
}

static int enter(struct store *s, const struct outbox_call *call, bool init, struct outbox_err *err)
{
    set_deadline(s, call);
    drop_moved(s);
    if (s->db)
        return OUTBOX_OK;
    int r = open_file(s, init ? SQLITE_OPEN_CREATE : 0, err);
    if (r == 0 && !init)
        r = fit_check(s, err);
    if (r < 0)
        db_close(s);
    return r;
}

int connect_enter_init(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    return enter(s, call, true, err);
}

int connect_enter(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    return enter(s, call, false, err);
}

int connect_begin(struct store *s, const struct outbox_call *call, struct outbox_err *err)
{
    int r = connect_enter(s, call, err);
    return r < 0 ? r : db_begin(s, err);
}
