/* SPDX-License-Identifier: Apache-2.0 */
#include "lease.h"

#include "db.h"

int lease_new(struct store *s, const struct outbox_claim *claim, int64_t *ret,
              struct outbox_err *err)
{
    sqlite3_randomness(sizeof *ret, ret);
    *ret = (int64_t)((uint64_t)*ret >> 1) | 1; /* positive */
    return db_run(
        s, STMT_LEASE_NEW, "INSERT INTO \"{t}_leases\" (lease, until, relay) VALUES (?1, ?2, ?3)",
        DB_ARGS(DB_INT(*ret), DB_INT(db_now_plus(s, claim->lease_ms)), DB_TEXT(claim->relay)), err);
}

int lease_end(struct store *s, int64_t lease, struct outbox_err *err)
{
    return db_run(s, STMT_LEASE_END, "DELETE FROM \"{t}_leases\" WHERE lease = ?1",
                  DB_ARGS(DB_INT(lease)), err);
}

int lease_expire(struct store *s, int64_t *ret_n, struct outbox_err *err)
{
    int64_t now = db_now(s);
    int r = db_run(
        s, STMT_EXPIRE_ROWS,
        "UPDATE \"{t}\" INDEXED BY \"{t}_held\" SET status = 'pending', lease = NULL WHERE"
        " status = 'processing' AND lease IN (SELECT lease FROM \"{t}_leases\" WHERE until <= ?1)",
        DB_ARGS(DB_INT(now)), err);
    if (r < 0)
        return r;
    *ret_n = sqlite3_changes64(s->db);
    return db_run(s, STMT_EXPIRE_LEASES, "DELETE FROM \"{t}_leases\" WHERE until <= ?1",
                  DB_ARGS(DB_INT(now)), err);
}

int lease_adopt_orphans(struct store *s, const struct outbox_claim *claim, struct outbox_err *err)
{
    int64_t lease;
    int r = lease_new(s, claim, &lease, err);
    return r < 0 ? r
                 : db_run(s, STMT_ONCE,
                          "UPDATE \"{t}\" SET lease = ?1 WHERE seq IN (SELECT seq"
                          " FROM " LEASE_ORPHANS ")",
                          DB_ARGS(DB_INT(lease)), err);
}

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
