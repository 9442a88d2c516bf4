/* SPDX-License-Identifier: Apache-2.0 */
#include "lease.h"

#include "db.h"
#include "refused.h"
#include "rows.h"

#include <sys/random.h>

#define HELD "FROM \"{t}\" INDEXED BY \"{t}_held\" WHERE status = 'processing' AND "

/* Not SQLite's random numbers: a process that was forked has the same ones as its parent. */
int lease_new(struct store *s, const struct outbox_claim *claim, int64_t *ret,
              struct outbox_err *err)
{
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return outbox_fail(err, OUTBOX_E_RETRY, "no random numbers");
    *ret = (int64_t)(random >> 1) | 1; /* positive */
    return db_run(
        s, STMT_LEASE_NEW, "INSERT INTO \"{t}_leases\" (lease, until, relay) VALUES (?1, ?2, ?3)",
        DB_ARGS(DB_INT(*ret), DB_INT(db_now_plus(s, claim->lease_ms)), DB_TEXT(claim->relay)), err);
}

int lease_end(struct store *s, int64_t lease, struct outbox_err *err)
{
    return db_run(s, STMT_LEASE_END, "DELETE FROM \"{t}_leases\" WHERE lease = ?1",
                  DB_ARGS(DB_INT(lease)), err);
}

int lease_hold(struct store *s, int64_t lease, struct outbox_err *err)
{
    return db_run(s, STMT_ONCE, "UPDATE \"{t}_leases\" SET until = ?2 WHERE lease = ?1",
                  DB_ARGS(DB_INT(lease), DB_INT(refused_until_us(s))), err);
}

int lease_end_or_hold(struct store *s, int64_t lease, struct outbox_err *err)
{
    int r = db_run(s, STMT_ONCE,
                   "DELETE FROM \"{t}_leases\" WHERE lease = ?1 AND NOT EXISTS (SELECT 1 " HELD
                   "lease = ?1)",
                   DB_ARGS(DB_INT(lease)), err);
    return r == 0 && sqlite3_changes(s->db) == 0 ? lease_hold(s, lease, err) : r;
}

/* ---- rows become free ---- */

#define FREE "status = 'pending', lease = NULL"

/* The rows of a statement, as they were when it ran, which is before the change. */
static int change_found(struct store *s, const char *find, int64_t arg,
                        const struct rows_change *change, uint64_t *ret_n, struct outbox_err *err)
{
    struct rows rows = {0};
    sqlite3_stmt *q;
    *ret_n = 0;
    int r = db_query(s, STMT_ONCE, find, DB_ARGS(DB_INT(arg)), &q, err);
    if (r == 0)
        r = rows_read(s, q, &rows, err);
    if (r == 0)
        r = rows_apply(s, &rows, change, ret_n, err);
    rows_free(&rows);
    return r;
}

static int free_one_by_one(struct store *s, int64_t lease, struct outbox_err *err)
{
    const struct rows_change change = {ROWS_UPDATE(FREE, "status = 'processing' AND lease = ?2"),
                                       .arg = lease};
    uint64_t n;
    int r = change_found(s, "SELECT seq " HELD "lease = ?1 AND NOT outbox_quarantined(seq)", lease,
                         &change, &n, err);
    return r < 0 ? r : lease_end_or_hold(s, lease, err);
}

/* One statement and the lease's end in one transaction; row by row only if that leaves a row. */
int lease_free(struct store *s, int64_t lease, struct outbox_err *err)
{
    int64_t left = 0;
    int r = db_begin(s, err);
    if (r < 0)
        return r;
    r = db_run(s, STMT_RELEASE,
               "UPDATE \"{t}\" INDEXED BY \"{t}_held\" SET " FREE
               " WHERE status = 'processing' AND lease = ?1 AND NOT outbox_quarantined(seq)",
               DB_ARGS(DB_INT(lease)), err);
    if (r == 0)
        r = db_read_int(s, STMT_IS_HELD, "SELECT EXISTS (SELECT 1 " HELD "lease = ?1)",
                        DB_ARGS(DB_INT(lease)), &left, err);
    if (r == 0 && left)
        r = db_skipped(s, err);
    if (r == 0)
        r = lease_end(s, lease, err);
    r = db_end(s, r, err);
    return r < 0 && s->row_at_fault ? free_one_by_one(s, lease, err) : r;
}

/* A lease whose rows cannot be freed goes on. */
int lease_expire(struct store *s, uint64_t *ret_n, struct outbox_err *err)
{
    int64_t now = db_now(s);
    const struct rows_change change = {
        ROWS_UPDATE(FREE, "status = 'processing' AND lease IN (SELECT lease FROM \"{t}_leases\""
                          " WHERE until <= ?2)"),
        .arg = now};
    int r = change_found(s,
                         "SELECT seq " HELD "lease IN (SELECT lease FROM \"{t}_leases\" WHERE"
                         " until <= ?1) AND NOT outbox_quarantined(seq)",
                         now, &change, ret_n, err);
    if (r == 0)
        r = db_run(
            s, STMT_ONCE,
            "DELETE FROM \"{t}_leases\" WHERE until <= ?1 AND lease NOT IN (SELECT lease " HELD
            "lease IS NOT NULL)",
            DB_ARGS(DB_INT(now)), err);
    if (r == 0)
        r = db_run(s, STMT_ONCE, "UPDATE \"{t}_leases\" SET until = ?2 WHERE until <= ?1",
                   DB_ARGS(DB_INT(now), DB_INT(refused_until_us(s))), err);
    return r;
}

int lease_adopt_orphans(struct store *s, const struct outbox_claim *claim, struct outbox_err *err)
{
    struct rows_change change = {
        ROWS_UPDATE("lease = ?2", "status = 'processing' AND (lease IS NULL OR lease NOT IN"
                                  " (SELECT lease FROM \"{t}_leases\"))")};
    struct rows rows = {0};
    sqlite3_stmt *q;
    uint64_t n = 0;
    int r = db_query(s, STMT_ONCE, "SELECT seq FROM " LEASE_ORPHANS, DB_NO_ARGS, &q, err);
    if (r == 0)
        r = rows_read(s, q, &rows, err);
    if (r == 0 && rows.n > 0)
        r = lease_new(s, claim, &change.arg, err);
    if (r == 0 && rows.n > 0)
        r = rows_apply(s, &rows, &change, &n, err);
    if (r == 0 && rows.n > 0 && n == 0)
        r = lease_end(s, change.arg, err);
    rows_free(&rows);
    return r;
}

/* ---- renewing ---- */

/* The lease is a number written as text, which SQLite compares with the column as a number. */
int lease_renew(void *instance, struct outbox_str lease, uint32_t lease_ms,
                const struct outbox_call *call, uint64_t *ret_held, struct outbox_err *err)
{
    struct store *s = instance;
    int64_t n = 0;
    int r = connect_enter(s, call, err);
    if (r == 0)
        r = db_run(s, STMT_LEASE_RENEW, "UPDATE \"{t}_leases\" SET until = ?2 WHERE lease = ?1",
                   DB_ARGS(DB_TEXT(lease), DB_INT(db_now_plus(s, lease_ms))), err);
    if (r == 0 && sqlite3_changes64(s->db) > 0)
        r = db_read_int(s, STMT_LEASE_COUNT,
                        "SELECT count(*) FROM \"{t}\" INDEXED BY \"{t}_held\" WHERE status ="
                        " 'processing' AND lease = ?1",
                        DB_ARGS(DB_TEXT(lease)), &n, err);
    *ret_held = (uint64_t)n;
    return r;
}
