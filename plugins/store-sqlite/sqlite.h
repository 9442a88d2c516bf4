/* SPDX-License-Identifier: Apache-2.0 */
/* sqlite.h - an instance of store-sqlite, and what its files share. */
#ifndef STORE_SQLITE_SQLITE_H
#define STORE_SQLITE_SQLITE_H

#include "common/arena.h"

#include <outbox/plugin.h>

#include <sqlite3.h>
#include <stdbool.h>

/* What this version writes, and the least version that it still works on unchanged. */
#define SCHEMA_VERSION 1

/* Kept statements; each belongs to one place in the code. */
enum slot {
    SLOT_BEGIN,
    SLOT_COMMIT,
    SLOT_LOOK,
    SLOT_EXPIRE_ROWS,
    SLOT_EXPIRE_LEASES,
    SLOT_ADOPT_TIMES,
    SLOT_ADOPT_ROWS,
    SLOT_FRESH,
    SLOT_DELAYED,
    SLOT_TAKE_FRESH,
    SLOT_TAKE_ONE,
    SLOT_LEASE_NEW,
    SLOT_LEASE_HELD,
    SLOT_LEASE_END,
    SLOT_DONE_ALL_DELETE,
    SLOT_DONE_ALL_KEEP,
    SLOT_DELETE_ONE,
    SLOT_SETTLE_ONE,
    SLOT_RELEASE,
    SLOT_RENEW,
    SLOT_DATA_VERSION,
    SLOT_RELAY_PUT,
    SLOT_RELAY_TIDY,
    N_SLOTS
};

/* A claimed batch; `batch` first: the host's pointer is ours. */
struct claimed {
    struct outbox_batch batch;
    int64_t token;
    char lease[24];
    uint8_t *settled;
    uint32_t left; /* not settled yet */
};

struct store {
    const struct outbox_host *host;
    char *path;
    char *table;
    int64_t busy_ms;

    sqlite3 *db; /* NULL: not connected */
    sqlite3_stmt *statements[N_SLOTS];
    int64_t deadline_us; /* monotonic: of the call that runs */
    int64_t locked_us;   /* when to give up waiting for a lock */
    int cancel_fd;
    bool cancelled;
    int failure; /* class of the last failure of the connection */

    struct arena claim_arena; /* the batch */
    struct claimed *held;
    int64_t adopt_us; /* monotonic: when to look for rows that nobody's lease holds */

    struct arena page_arena; /* the last list, requeue ... */

    int inotify_fd;
    int64_t data_version;
    bool event_is_open; /* an event's commit may not have been there yet at the last look */
};

/* ---- db.c ---- */

/* Begins a call: its deadline, and a connection to a database whose table fits. */
int db_enter(struct store *s, const struct outbox_call *call, struct outbox_err *err);
/* The same for init: the file may be made, the table may be missing. */
int db_enter_raw(struct store *s, const struct outbox_call *call, struct outbox_err *err);
void db_close(struct store *s);

/* The kept statement of a slot, reset and without arguments; {t} in its text is the table. NULL
 * after a failure, whose class is s->failure. */
sqlite3_stmt *db_statement(struct store *s, enum slot slot, const char *sql,
                           struct outbox_err *err);
/* A new one, for sqlite3_finalize. */
sqlite3_stmt *db_prepare(struct store *s, const char *sql, struct outbox_err *err);
/* Steps a statement that returns no rows, and resets it. */
int db_run(struct store *s, sqlite3_stmt *statement, struct outbox_err *err);
/* Runs a text of one statement. */
int db_exec(struct store *s, const char *sql, struct outbox_err *err);
/* Fills *err from the connection, and lets go of a connection that is of no more use. */
int db_fail(struct store *s, struct outbox_err *err);

int db_begin(struct store *s, struct outbox_err *err);
int db_commit(struct store *s, struct outbox_err *err);
/* After a failure; keeps *err as it is. Returns r. */
int db_rollback(struct store *s, int r);

/* Puts the table's name for every {t}; for free(). NULL without memory. */
char *db_render(const struct store *s, const char *sql);

/* Binds text, NULL for NULL. */
void db_bind(sqlite3_stmt *statement, int index, struct outbox_str text);
void db_bind_blob(sqlite3_stmt *statement, int index, struct outbox_str bytes);
/* A column's bytes; n 0 and p NULL for SQL NULL. Valid until the next step. */
struct outbox_str db_column(sqlite3_stmt *statement, int column);

int64_t db_now(const struct store *s);
/* So many milliseconds from now, or before if negative; never beyond what a time can be. */
int64_t db_now_plus(const struct store *s, int64_t ms);

/* ---- schema.c, upgrade.c ---- */

/* A random UUID of version 4. */
#define SQL_UUID                                                                     \
    "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' ||\n"             \
    "        substr(hex(randomblob(2)), 2) || '-' ||\n"                              \
    "        substr('89ab', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2)" \
    " ||\n        '-' || hex(randomblob(6)))"

/* OK, or OUTBOX_E_CONFIG with what to do. */
int schema_check(struct store *s, struct outbox_err *err);
int schema_render(void *instance, const struct outbox_exec *exec, struct outbox_err *err);
int schema_init(void *instance, const struct outbox_call *call, struct outbox_str *ret,
                struct outbox_err *err);
enum schema_form { FORM_MISSING, FORM_OLD, FORM_OURS };
int schema_form(struct store *s, enum schema_form *ret, struct outbox_err *err);
/* The table under a name, with more columns than ours; then its indexes and companions. */
int schema_create(struct store *s, const char *name, const char *columns, struct outbox_err *err);
int schema_complete(struct store *s, struct outbox_err *err);
/* OUTBOX_E_CONFIG: building it anew would lose something. */
int upgrade_check(struct store *s, struct outbox_err *err);
int upgrade_old(struct store *s, int64_t *ret_rows, struct outbox_err *err);

/* ---- row.c ---- */

/* The columns that row_message reads, in its order; the payload only up to ?1 bytes. */
#define ROW_COLUMNS                                                                   \
    "seq, id, topic, key, CASE WHEN length(payload) > ?1 THEN NULL ELSE payload END," \
    " length(payload), headers, retries, created_at, origin_id"
#define ROW_PAYLOAD 4
#define ROW_N_COLUMNS 10
/* NULL without memory. */
struct outbox_message *row_message(sqlite3_stmt *statement, struct arena *arena,
                                   uint64_t max_message);

/* ---- filter.c ---- */

/* HEAD, which ends in a condition, then those of the filter, then TAIL. ?1 to ?3 are the caller's.
 * Finalize it. NULL after a failure, whose class is s->failure. */
sqlite3_stmt *filter_prepare(struct store *s, const char *head, const struct outbox_filter *filter,
                             const char *tail, struct outbox_err *err);

/* ---- moment.c ---- */

#define MOMENT_SIZE 32
/* 2026-11-23 19:47:00.123, as the table has it. */
const char *moment_format(int64_t us, char out[MOMENT_SIZE]);
/* Any form that SQLite takes for a date, or microseconds; 0 when it cannot be read. */
int64_t moment_column(sqlite3_stmt *statement, int column);
/* The SQL function outbox_moment(X): the same, of any value. */
void moment_sql(sqlite3_context *context, int n, sqlite3_value **values);

/* ---- the operations ---- */

int claim(void *instance, const struct outbox_claim *claim, const struct outbox_call *call,
          struct outbox_batch **ret, struct outbox_err *err);
int settle(void *instance, struct outbox_batch *batch, const struct outbox_settle *const *items,
           uint64_t n, const struct outbox_call *call, uint8_t *stale, struct outbox_err *err);
int release(void *instance, struct outbox_batch *batch, const struct outbox_call *call,
            struct outbox_err *err);
int renew(void *instance, struct outbox_str lease, uint32_t lease_ms,
          const struct outbox_call *call, uint64_t *ret_held, struct outbox_err *err);
int wait_for_news(void *instance, const struct outbox_call *call, struct outbox_err *err);
void wait_end(struct store *s);
int list(void *instance, const struct outbox_filter *filter, int64_t after, uint32_t limit,
         const struct outbox_call *call, struct outbox_page **ret, struct outbox_err *err);
int requeue(void *instance, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
            const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err);
int discard(void *instance, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
            const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err);
int purge(void *instance, const struct outbox_filter *filter, uint32_t limit,
          const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err);
int stats(void *instance, struct outbox_str lane, uint32_t flags, const struct outbox_call *call,
          struct outbox_stats *ret, struct outbox_err *err);
int relay_put(void *instance, const struct outbox_relay_row *row, const struct outbox_call *call,
              struct outbox_err *err);
int relay_list(void *instance, const struct outbox_call *call, struct outbox_relay_page **ret,
               struct outbox_err *err);
int save(void *instance, const struct outbox_new *const *rows, uint64_t n,
         const struct outbox_exec *exec, const struct outbox_call *call, struct outbox_err *err);

#endif
